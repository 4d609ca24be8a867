"""Audio, an open clip: its samples in blocks that fit the memory, and the error that says why there are none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.file.layout import CUT_SHORT

Float32 = npt.NDArray[np.float32]

# So many numbers are decoded at a time, so that memory does not follow a clip's length.
BLOCK_SAMPLES = 1 << 16

# Outside of these a sample rate is a damaged header's, not a recorder's.
_LOWEST_SR, _HIGHEST_SR = 1_000, 1_000_000

# A stated length is a promise to within so much, or to within two frames of an encoding.
_TOLERATED_SECONDS = 0.1
_FRAME_SAMPLES = 1152

NO_LENGTH = "no stated length: its header says that there are no samples, or fewer than follow; all were read"


class ClipError(Exception):
    """A clip that cannot be used; the message is the reason in words, without the clip's name.

    `passing` tells a trouble that may be over at the next try although the file has not changed.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass
class Audio:
    """An open clip.

    Attributes
    ----------
    sr
        The file's own sample rate in Hz.
    n_samples
        Samples of a channel that are expected, by its header or an estimate; 0 if nothing is known.
    format
        Container and encoding, such as "WAV/PCM_16".
    blocks
        Starts to read from the beginning: gives (n, n_channels) float32, a block at a time, which the next overwrites,
        and the reader, too, unless `scale` is 1.
    digest
        Computes `sha256`.
    scale
        What to multiply the samples of `blocks` with.
    n_decoded
        Samples of a channel that there were, once `blocks` came to its end.
    remark
        What is to be said of the clip, once it did: that it is cut short, or states no length; else "".
    lost
        The share of its energy that resampling took away, once all was read.
    mixed_peak, channel_peak
        The loudest sample of all channels mixed, if there are several, and while that is next to nothing of any one.
    """

    sr: int
    n_samples: int
    format: str
    blocks: Callable[[], Iterable[Float32]]
    digest: Callable[[], str]
    scale: float = 1.0
    n_decoded: int = 0
    remark: str = ""
    lost: float = 0.0
    mixed_peak: float = 0.0
    channel_peak: float = 0.0

    @property
    def sha256(self) -> str:
        """Hex digest of the file's content; a long file is read for it, so ask once."""
        return self.digest()


def check_sr(sr: int) -> None:
    """Raise a ClipError if a header's sample rate is none that a recorder writes."""
    if not _LOWEST_SR <= sr <= _HIGHEST_SR:
        raise ClipError(f"its header states a sample rate of {sr} Hz, outside of {_LOWEST_SR} to {_HIGHEST_SR} Hz")


def check_length(n_read: int, n_stated: int, sr: int, compressed: bool = True) -> str:
    """Hold what was decoded against what the header states: the one rule, whatever the format.

    Parameters
    ----------
    n_read, n_stated
        Samples of a channel; 0 are stated if nothing is.
    sr
        Their rate in Hz.
    compressed
        Whether the encoding works in frames, so that the length is stated to within two of them only.

    Returns
    -------
    str
        What is missing, if anything worth a word is.

    Raises
    ------
    ClipError
        It is more than half.
    """
    tolerance = max(_TOLERATED_SECONDS * sr, 2 * _FRAME_SAMPLES * compressed)
    n_missing = n_stated - n_read
    if n_missing <= 0 or (n_missing <= tolerance and (compressed or 2 * n_read >= n_stated)):
        return ""
    lengths = f"{n_read / sr:.2f} s of the {n_stated / sr:.2f} s that its header states"
    if 2 * n_read < n_stated:
        raise ClipError(f"it is cut short or damaged: {lengths}")
    return f"{CUT_SHORT}: {lengths}"

"""Audio, an open clip: its samples in blocks that fit the memory, and the error that says why there are none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

# So many numbers are decoded at a time, so that memory does not follow a clip's length.
BLOCK_SAMPLES = 1 << 16

# Outside of these a sample rate is a damaged header's, not a recorder's.
_LOWEST_SR, _HIGHEST_SR = 1_000, 1_000_000


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
        Samples of a channel that its header states.
    format
        Container and encoding, such as "WAV/PCM_16".
    blocks
        Starts to read from the beginning: gives (n, n_channels) float32, a block at a time, which the next overwrites,
        and the reader, too, unless `scale` is 1.
    digest
        Computes `sha256`.
    scale
        What to multiply the samples of `blocks` with.
    """

    sr: int
    n_samples: int
    format: str
    blocks: Callable[[], Iterable[Float32]]
    digest: Callable[[], str]
    scale: float = 1.0

    @property
    def sha256(self) -> str:
        """Hex digest of the file's content; a long file is read for it, so ask once."""
        return self.digest()


def check_sr(sr: int) -> None:
    """Raise a ClipError if a header's sample rate is none that a recorder writes."""
    if not _LOWEST_SR <= sr <= _HIGHEST_SR:
        raise ClipError(f"its header states a sample rate of {sr} Hz, outside of {_LOWEST_SR} to {_HIGHEST_SR} Hz")

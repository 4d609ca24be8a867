"""Audio, an open clip whose samples come in blocks that fit into memory, and the error that says why there are none."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from cache.file.columns import CUT_SHORT
from cache.shared.errors import UserError
from cache.shared.types import Float32

T = TypeVar("T")
R = TypeVar("R")

# Numbers that are decoded at a time, so that memory does not grow with the length of a clip.
BLOCK_SAMPLES = 1 << 16

# A sample rate outside of these comes from a damaged header, not from a recorder.
_LOWEST_SR, _HIGHEST_SR = 1_000, 1_000_000

# A stated length is exact to within so much, or to within two frames of the encoding.
_TOLERATED_SECONDS = 0.1
_FRAME_SAMPLES = 1152


class ClipError(UserError):
    """A clip that cannot be used; the message is the reason in words, without the clip's name.

    `passing` marks a trouble that may be over at the next try although the file has not changed.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class Decoded(NamedTuple):
    """The end of a clip: how many samples a channel had, and a remark for the user, if there is one."""

    n_samples: int
    remark: str = ""


# Samples as they are stored, shape (n, n_channels), a block at a time, which the next block overwrites.
Blocks = Generator[Float32, None, Decoded]


class Reading(Generic[T, R]):
    """A generator that is iterated over once; what it returned is `result` afterwards."""

    result: R

    def __init__(self, generator: Generator[T, None, R]) -> None:
        self._generator = generator

    def __iter__(self) -> Iterator[T]:
        self.result = yield from self._generator


class Audio(NamedTuple):
    """An open clip."""

    sr: int  # the file's own sample rate in Hz
    n_channels: int
    n_samples: int  # the expected number of samples of a channel, by the header or an estimate; 0 if nothing is known
    format: str  # container and encoding, such as "WAV/PCM_16"
    # Reads the clip from its beginning. Unless `scale` is 1, the reader may overwrite a block, too.
    blocks: Callable[[], Blocks]
    # Computes the hex digest of the file's content; a long file is read for it, so ask once. "" for samples in memory.
    sha256: Callable[[], str] = str
    scale: float = 1.0  # the factor that brings the samples of `blocks` to full scale at 1; a power of two
    # Reads the clip on from a sample, without a check of its length; None if only its beginning can be found.
    blocks_from: Callable[[int], Iterator[Float32]] | None = None

    def pieces(self, spans: Sequence[tuple[int, int]]) -> Generator[tuple[int, Float32], None, Decoded | None]:
        """Cut spans of samples out of the clip while it is read once.

        A span is its first sample and the one behind its last; spans may overlap. Yields the index of a span and its
        next samples, shape (n, n_channels), with full scale at 1, in memory of their own. Returns None if all spans
        were complete before the clip was read to its end. Raises a ClipError if the clip cannot be decoded further;
        what came before is good.
        """
        waiting = deque(sorted(range(len(spans)), key=spans.__getitem__))
        under_way: list[int] = []
        position = 0
        blocks = Reading(self.blocks())
        for block in blocks:
            end = position + len(block)
            while waiting and spans[waiting[0]][0] < end:
                under_way.append(waiting.popleft())
            for i in under_way:
                first, last = spans[i]
                yield i, block[max(0, first - position) : last - position] * np.float32(self.scale)
            under_way = [i for i in under_way if spans[i][1] > end]
            if not waiting and not under_way:
                return None
            position = end
        return blocks.result

    def span(self, first: int, last: int) -> Iterator[Float32]:
        """Yield the samples from `first` to before `last`, shape (n, n_channels), with full scale at 1.

        They are for people to hear and see: where the clip can be read from its middle, nothing before them is looked
        at, and a lossy encoding may give them a little otherwise than `pieces` does. Raises a ClipError if the clip
        cannot be decoded there.
        """
        if self.blocks_from is None:
            yield from (samples for _, samples in self.pieces([(first, last)]))
            return
        n_left = last - first
        for block in self.blocks_from(first):
            yield block[:n_left] * np.float32(self.scale)
            n_left -= len(block)
            if n_left <= 0:
                return


def audio_of(samples: Float32, sr: int, format: str) -> Audio:
    """Return samples in memory, shape (n, n_channels) with full scale at 1, as an open clip."""
    n_samples, n_channels = samples.shape

    def blocks() -> Blocks:
        step = max(1, BLOCK_SAMPLES // n_channels)
        for start in range(0, n_samples, step):
            yield samples[start : start + step]
        return Decoded(n_samples)

    return Audio(sr, n_channels, n_samples, format, blocks)


def check_sr(sr: int, stated: str = "its header states a sample rate of") -> None:
    """Raise a ClipError if no recorder writes such a sample rate; `stated` is what the message says before it."""
    if not _LOWEST_SR <= sr <= _HIGHEST_SR:
        raise ClipError(f"{stated} {sr} Hz, outside of {_LOWEST_SR} to {_HIGHEST_SR} Hz")


def check_length(n_read: int, n_stated: int, sr: int, compressed: bool = True) -> str:
    """Compare the samples of a channel that were decoded with those that the header states: one rule for all formats.

    Returns a remark on what is missing, or "" if little or nothing is; raises a ClipError if more than half is missing.
    `n_stated` is 0 if the header states nothing. A compressed encoding works in frames, so its length is stated to
    within two of them only.
    """
    tolerance = max(_TOLERATED_SECONDS * sr, 2 * _FRAME_SAMPLES * compressed)
    n_missing = n_stated - n_read
    if n_missing <= 0 or (n_missing <= tolerance and (compressed or 2 * n_read >= n_stated)):
        return ""
    lengths = f"{n_read / sr:.2f} s of the {n_stated / sr:.2f} s that its header states"
    if 2 * n_read < n_stated:
        raise ClipError(f"it is cut short or damaged: {lengths}")
    return f"{CUT_SHORT}: {lengths}"

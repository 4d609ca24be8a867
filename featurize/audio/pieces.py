"""Segments of a recording as clips of their own, and windows of a clip, cut while it is decoded, if possible once."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush, heappushpop
from typing import Generic, TypeVar

import numpy as np

from cache.shared.segment import Grid, Segment, segment_of
from cache.shared.text import human_count
from cache.shared.types import Float32
from featurize.audio.audio import Audio, Blocks, ClipError, Decoded, Reading
from featurize.audio.decode import open_audio

Window = TypeVar("Window")

# No more numbers than this are kept in memory, of all segments and channels together.
MOST_KEPT = 1 << 24

# A segment that ends less than so much behind the recording's end is not remarked on.
_TOLERATED_SECONDS = 0.01


def cut(audio: Audio, segments: Sequence[Segment]) -> Iterator[tuple[int, Audio]]:
    """Cut segments, which may overlap, out of an open recording; yield the index of each and the segment.

    A segment is to the bit as a file of its samples. If it starts behind the end of the recording, or is of a channel
    that the recording does not have, reading it raises a ClipError. Raises one itself if the recording cannot be
    decoded further; what came before is good.
    """
    spans = [segment.samples(audio.sr) for segment in segments]
    for chosen in passes(spans, MOST_KEPT // audio.n_channels):
        if len(chosen) == 1 and _length(spans[chosen[0]]) * audio.n_channels > MOST_KEPT:
            yield chosen[0], _streamed(audio, segments[chosen[0]])
            continue
        kept: dict[int, list[Float32]] = {which: [] for which in chosen}
        pieces = Reading(audio.pieces([spans[which] for which in chosen]))
        for i, part in pieces:
            which = chosen[i]
            kept[which].append(part)
            if sum(map(len, kept[which])) == _length(spans[which]):
                yield which, _kept(audio, segments[which], kept.pop(which))
        for which, parts in kept.items():
            yield which, _kept(audio, segments[which], parts, pieces.result)


def passes(spans: Sequence[tuple[int, int]], most: int) -> Iterator[list[int]]:
    """Share out spans among passes through a recording, such that at any moment at most `most` samples are under way.

    A span that is longer has a pass of its own; these come last.
    """
    by_start = sorted(range(len(spans)), key=spans.__getitem__)
    long = [which for which in by_start if _length(spans[which]) > most]
    left = [which for which in by_start if _length(spans[which]) <= most]
    while left:
        chosen, later = [], []
        under_way: list[tuple[int, int]] = []  # a heap of where spans end, and how long they are
        n_kept = 0
        for which in left:
            first, last = spans[which]
            while under_way and under_way[0][0] <= first:
                n_kept -= heappop(under_way)[1]
            if n_kept + last - first > most:
                later.append(which)
                continue
            chosen.append(which)
            heappush(under_way, (last, last - first))
            n_kept += last - first
        yield chosen
        left = later
    yield from ([which] for which in long)


def _length(span: tuple[int, int]) -> int:
    return span[1] - span[0]


@contextmanager
def open_clip(path: str) -> Iterator[Audio]:
    """Open a clip by its path in a cache, which may be that of a segment; see `featurize.audio.decode.open_audio`."""
    segment = None if os.path.exists(path) else segment_of(path)  # noqa: PTH110
    with open_audio(segment.recording if segment else path) as audio:
        yield _streamed(audio, segment) if segment else audio


def cut_windows(blocks: Iterable[Float32], grid: Grid, longest_whole: int) -> Iterator[tuple[int, Float32, bool]]:
    """Cut a waveform into the windows of a grid as it is read; not more than `longest_whole` and a block are held.

    `blocks` are consecutive samples, shape (n,) or (n, n_channels). Yields the first sample of a window, from 0, its
    samples, and whether they are all of the waveform: one of up to `longest_whole` samples, which are a window's at
    least, is not cut.
    """
    length, step = grid
    held, first, start = np.empty(0, np.float32), 0, 0  # samples; the position of their first; that of the next window
    for block in blocks:
        held = np.concatenate((held, block)) if len(held) else block.copy()
        stop = first + len(held)
        if start == 0 and stop <= longest_whole:
            continue
        while start + length <= stop:
            yield start, held[start - first : start - first + length], False
            start += step
        # The end may come with the next block, and the last window reaches back from there.
        kept = min(start, stop - length)
        held, first = held[kept - first :], kept
    stop = first + len(held)
    if start == 0:
        yield 0, held, True
    elif start - step + length < stop:
        yield stop - length, held[-length:], False


class Loudest(Generic[Window]):
    """The n windows of a clip with the most energy of which none overlaps another by more than half, as they come."""

    def __init__(self, n: int, grid: Grid) -> None:
        # A window rules out at most so many others. Among as many as all n rule out, and n, are the n that are wanted.
        n_others = 2 * (math.ceil(grid.length // 2 / grid.step) - 1) + 1
        self._n, self._grid, self._most = n, grid, n * (n_others + 1)
        self._heap: list[tuple[float, int, Window]] = []

    def may_have(self, energy: float, first: int) -> bool:
        """Whether a window of this energy that begins with this sample may be among them."""
        return len(self._heap) < self._most or (energy, -first) > self._heap[0][:2]

    def add(self, energy: float, first: int, window: Window) -> None:
        """Take a window that may be among them."""
        (heappush if len(self._heap) < self._most else heappushpop)(self._heap, (energy, -first, window))

    @property
    def chosen(self) -> list[Window]:
        """The n windows, in the order of their starts."""
        found = sorted(self._heap, key=lambda one: -one[1])
        which = self._grid.loudest(self._n, [-first for _, first, _ in found], [energy for energy, _, _ in found])
        return [found[i][2] for i in which]


# Parts of a segment, in order, each behind a number; it returns the end of the recording if that came before its own.
_Parts = Generator[tuple[int, Float32], None, Decoded | None]


def _kept(audio: Audio, segment: Segment, parts: list[Float32], recording: Decoded | None = None) -> Audio:
    """Return a segment whose samples are in memory."""

    def read() -> _Parts:
        yield from enumerate(parts)
        return recording

    return _piece(audio, segment, sum(map(len, parts)), read)


def _streamed(audio: Audio, segment: Segment) -> Audio:
    """Return a segment that is read from the recording each time, because it is too long to keep."""
    span = segment.samples(audio.sr)
    return _piece(audio, segment, _length(span), lambda: audio.pieces([span]))


def _piece(audio: Audio, segment: Segment, n_samples: int, read: Callable[[], _Parts]) -> Audio:
    def blocks() -> Blocks:
        n_read, parts = 0, Reading(read())
        for _, part in parts:
            n_read += len(part)
            yield _channel(part, segment.channel)
        return _end(segment, n_read, audio.sr, parts.result)

    n_channels = 1 if segment.channel else audio.n_channels
    return Audio(audio.sr, n_channels, n_samples, audio.format, blocks, lambda: segment.sha256(audio.sha256()))


def _channel(part: Float32, channel: int) -> Float32:
    if not channel:
        return part
    if channel > part.shape[1]:
        n_channels = human_count(part.shape[1], "channel")
        raise ClipError(f"its table gives channel {channel}, and the recording has {n_channels}")
    return np.ascontiguousarray(part[:, channel - 1 : channel])


def _end(segment: Segment, n_samples: int, sr: int, recording: Decoded | None) -> Decoded:
    first, last = segment.samples(sr)
    if first == last:
        raise ClipError("it is shorter than a sample of the recording")
    if recording is None:
        return Decoded(n_samples)
    seconds = recording.n_samples / sr
    if n_samples == 0:
        raise ClipError(f"it starts at {segment.start:.2f} s, and the recording is over at {seconds:.2f} s")
    is_short = last - first - n_samples > _TOLERATED_SECONDS * sr
    return Decoded(n_samples, f"it ends at {segment.end:.2f} s, and the recording at {seconds:.2f} s" * is_short)

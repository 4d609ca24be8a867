"""Segments of a recording as clips of their own, all of them cut out of it while it is decoded once."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import numpy as np

from cache.shared.segment import Segment, segment_of
from cache.shared.text import human_count
from featurize.audio.audio import Audio, ClipError, Float32
from featurize.audio.decode import open_audio

# At a time no more numbers than this of all segments, and of all channels, are kept in memory: for the others the
# recording is decoded again.
_MOST_KEPT = 1 << 24

# Less than so much beyond the recording's end is nobody's mistake.
_TOLERATED_SECONDS = 0.01


def cut(audio: Audio, segments: Sequence[Segment]) -> Iterator[tuple[int, Audio]]:
    """Cut segments, which may overlap, out of an open recording while it is decoded.

    Yields
    ------
    int
        The position of the segment in `segments`.
    Audio
        Its samples, to the bit those that a file of these samples would give. A segment beyond the end of the
        recording, or of a channel that it does not have, raises a ClipError when it is read.

    Raises
    ------
    ClipError
        The recording cannot be decoded further; what came before is good.
    """
    samples = [segment.samples(audio.sr) for segment in segments]
    long: list[int] = []
    todo = sorted(range(len(segments)), key=samples.__getitem__)
    while todo:
        waiting, todo = deque(todo), []
        kept: dict[int, list[Float32]] = {}
        n_kept = position = 0
        for block in audio.blocks():
            end = position + len(block)
            while waiting and samples[waiting[0]][0] < end:
                which = waiting.popleft()
                size = _length(samples[which]) * block.shape[1]
                if n_kept + size <= _MOST_KEPT:
                    kept[which] = []
                    n_kept += size
                elif size <= _MOST_KEPT:
                    todo.append(which)
                else:
                    long.append(which)
            for which, parts in list(kept.items()):
                first, last = samples[which]
                parts.append(block[max(0, first - position) : last - position].copy())
                if last <= end:
                    yield which, _piece(audio, segments[which], partial(iter, kept.pop(which)), sum(map(len, parts)))
                    n_kept -= _length(samples[which]) * block.shape[1]
            position = end
            if not waiting and not kept:
                break
        for which in (*kept, *waiting):
            parts = kept.get(which, [])
            yield which, _piece(audio, segments[which], partial(iter, parts), sum(map(len, parts)))
    # Only now: two readers of one file would be in each other's way.
    for which in long:
        yield which, _piece(audio, segments[which], partial(_between, audio, *samples[which]))


def _length(samples: tuple[int, int]) -> int:
    return samples[1] - samples[0]


def open_clip(path: str) -> AbstractContextManager[Audio]:
    """Open a clip by its path in a cache, which may be that of a segment; see `featurize.audio.decode.open_audio`."""
    segment = segment_of(path)
    return open_audio(path) if segment is None or os.path.exists(path) else _open_segment(segment)  # noqa: PTH110


@contextmanager
def _open_segment(segment: Segment) -> Iterator[Audio]:
    with open_audio(segment.recording) as audio:
        yield _piece(audio, segment, partial(_between, audio, *segment.samples(audio.sr)))


def _piece(
    audio: Audio, segment: Segment, read: Callable[[], Iterable[Float32]], n_samples: int | None = None
) -> Audio:
    first, last = segment.samples(audio.sr)

    def blocks() -> Iterator[Float32]:
        n = 0
        for block in read():
            n += len(block)
            yield _channel(block, segment.channel) if segment.channel else block
        end = (first + n) / audio.sr
        if n == 0:
            raise ClipError(f"it starts at {segment.start:.2f} s, and the recording is over at {_seconds(audio):.2f} s")
        if last - first - n > _TOLERATED_SECONDS * audio.sr:
            piece.remark = f"it ends at {segment.end:.2f} s, and the recording at {end:.2f} s"
        piece.n_decoded = n

    n_samples = last - first if n_samples is None else n_samples
    piece = Audio(audio.sr, n_samples, audio.format, blocks, lambda: segment.sha256(audio.sha256), audio.scale)
    return piece


def _channel(block: Float32, channel: int) -> Float32:
    if channel > block.shape[1]:
        n_channels = human_count(block.shape[1], "channel")
        raise ClipError(f"its table gives channel {channel}, and the recording has {n_channels}")
    return np.ascontiguousarray(block[:, channel - 1 : channel])


def _seconds(audio: Audio) -> float:
    return (audio.n_decoded or audio.n_samples) / audio.sr


def _between(audio: Audio, first: int, last: int) -> Iterator[Float32]:
    position = 0
    for block in audio.blocks():
        part = block[max(0, first - position) : max(0, last - position)]
        position += len(block)
        if len(part):
            yield part
        if position >= last:
            return

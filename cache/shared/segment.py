"""Segment: a part of a recording, its path in a cache, its samples and its digest; Crop: the windows of a long clip.

Its path is that of the recording with the seconds behind it, `rec/night.wav#12.500000-13.250000`, and with the channel
where a table names one, `rec/night.wav#12.500000-13.250000@ch3`. A file that is a clip as a whole never has such a
path, because that ends in an audio extension.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

_PATH = re.compile(r"(.+)#(\d+\.\d{6})-(\d+\.\d{6})(?:@ch([1-9]\d{0,4}))?", re.DOTALL)


class Segment(NamedTuple):
    """A part of a recording."""

    recording: str  # the path of the recording
    # Seconds within the recording, to the microsecond.
    start: float
    end: float
    channel: int = 0  # the channel, counted from 1; 0: the mean of all channels

    @property
    def path(self) -> str:
        """The path under which a cache knows the segment."""
        return self.recording + self._suffix

    @property
    def _suffix(self) -> str:
        return f"#{self.start:.6f}-{self.end:.6f}" + (f"@ch{self.channel}" if self.channel else "")

    def samples(self, sr: int) -> tuple[int, int]:
        """Return the first sample and the one behind the last, the nearest to its seconds, at a rate in Hz."""
        return samples_of(self.start, self.end, sr)

    def sha256(self, content: str) -> str:
        """Return the digest of the segment, in hexadecimal, from that of its recording's content."""
        return hashlib.sha256(f"{content}{self._suffix}".encode()).hexdigest()


def segment_of(path: str) -> Segment | None:
    """Return the segment that a path in a cache names; None if it is the path of a file."""
    found = _PATH.fullmatch(path)
    return Segment(found[1], float(found[2]), float(found[3]), int(found[4] or 0)) if found else None


def recording_of(path: str) -> str:
    """Return the path of the file that a clip is in: its own, or that of its recording if it is a segment."""
    found = segment_of(path)
    return found.recording if found else path


def in_turn(segments: Sequence[tuple[int, str]], most: int, n_before: Sequence[int]) -> list[int]:
    """Return which segments are taken if a class has at most so many clips: one of each recording, then a second, ..

    The segments are given as their class and recording, and `n_before` is how many clips each class has without them.
    """
    turns: Counter[tuple[int, str]] = Counter()
    of_class: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, segment in enumerate(segments):
        of_class[segment[0]].append((turns[segment], i))
        turns[segment] += 1
    return sorted(i for label, turn in of_class.items() for _, i in sorted(turn)[: max(0, most - n_before[label])])


def samples_of(start: float, end: float, sr: int) -> tuple[int, int]:
    """Return the first sample of a span in seconds and the one behind its last."""
    return round(start * sr), round(end * sr)


class Grid(NamedTuple):
    """Windows of one length, a step apart from the beginning of a clip on; the last one ends where the clip ends."""

    length: int  # in samples
    step: int

    def n_windows(self, n_samples: int) -> int:
        """Return how many windows a clip has; one as short as a window has one."""
        return 1 + max(0, math.ceil((n_samples - self.length) / self.step))

    def loudest(self, n: int, starts: Sequence[int], energies: Sequence[float]) -> list[int]:
        """Return which n windows have the most energy, in their order, and overlap by no more than half."""
        chosen: list[int] = []
        for i in sorted(range(len(starts)), key=lambda i: (-energies[i], starts[i])):
            # Half of an odd number of samples is rounded as steps are.
            if len(chosen) < n and all(abs(starts[i] - starts[other]) >= self.length // 2 for other in chosen):
                chosen.append(i)
        return sorted(chosen)


def grid(seconds: float, overlap: float, sr: int) -> Grid:
    """Return the windows of so many seconds, each overlapping the one before by a share of it, at a rate in Hz."""
    return Grid(max(1, round(seconds * sr)), max(1, round(seconds * (1 - overlap) * sr)))


class CropName(StrEnum):
    """The windows of a long clip that become rows."""

    middle = "middle"  # one, in its middle
    segments = "segments"  # all of them
    loudest = "loudest"  # those with the most energy


class Crop(NamedTuple):
    """How a clip that is longer than a row becomes rows."""

    crop: str = CropName.middle.value  # a CropName
    overlap: float = 0.5  # share of a window that the next one overlaps
    n_windows: int = 1  # how many windows `loudest` takes


MIDDLE = Crop()

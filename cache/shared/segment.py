"""Segment: a part of a recording as a clip of its own; its path in a cache, its samples and its digest.

Its path is that of the recording with the seconds behind it, `rec/night.wav#12.500000-13.250000`, and with the channel
where a table names one, `rec/night.wav#12.500000-13.250000@ch3`. A file that is a clip as a whole never has such a
path, because that ends in an audio extension.
"""

import hashlib
import re
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


def samples_of(start: float, end: float, sr: int) -> tuple[int, int]:
    """Return the first sample of a span in seconds and the one behind its last."""
    return round(start * sr), round(end * sr)

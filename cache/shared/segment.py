"""A segment of a recording as a clip: the path under which a cache knows it, its samples and its digest.

Its path is that of the recording with the segment behind it, `rec/night.wav#12.500000-13.250000`. No file that is a
clip as a whole has such a path, for that ends in an audio extension.
"""

import hashlib
import re
from typing import NamedTuple

_PATH = re.compile(r"(.+)#(\d+\.\d{6})-(\d+\.\d{6})", re.DOTALL)


class Segment(NamedTuple):
    """The path of a recording, and where in it a segment starts and ends, in seconds."""

    recording: str
    start: float
    end: float


def segment_path(recording: str, start: float, end: float) -> str:
    """Return the path of a segment, given in seconds to the microsecond."""
    return f"{recording}#{start:.6f}-{end:.6f}"


def segment_of(path: str) -> Segment | None:
    """Return what a path says of a segment; None if it is that of a file."""
    found = _PATH.fullmatch(path)
    return Segment(found[1], float(found[2]), float(found[3])) if found else None


def recording_of(path: str) -> str:
    """Return the path of the file that a clip is in: its own, or that of the recording of which it is a segment."""
    found = segment_of(path)
    return found.recording if found else path


def samples_of(start: float, end: float, sr: int) -> tuple[int, int]:
    """Return the first sample of a segment and the one behind its last: the nearest to its seconds."""
    return round(start * sr), round(end * sr)


def segment_sha256(recording: str, start: float, end: float) -> str:
    """Return the digest of a segment, in hexadecimal, from that of its recording's content."""
    return hashlib.sha256(f"{recording}#{start:.6f}-{end:.6f}".encode()).hexdigest()

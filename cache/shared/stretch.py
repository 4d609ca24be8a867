"""A stretch of a recording as a clip: the path under which a cache knows it, its samples and its digest.

Its path is that of the recording with the stretch behind it, `rec/night.wav#12.500000-13.250000`. No file that is a
clip as a whole has such a path, for that ends in an audio extension.
"""

import hashlib
import re
from typing import NamedTuple

_PATH = re.compile(r"(.+)#(\d+\.\d{6})-(\d+\.\d{6})", re.DOTALL)


class Stretch(NamedTuple):
    """The path of a recording, and where in it a stretch starts and ends, in seconds."""

    recording: str
    start: float
    end: float


def stretch_path(recording: str, start: float, end: float) -> str:
    """Return the path of a stretch, given in seconds to the microsecond."""
    return f"{recording}#{start:.6f}-{end:.6f}"


def stretch_of(path: str) -> Stretch | None:
    """Return what a path says of a stretch; None if it is that of a file."""
    found = _PATH.fullmatch(path)
    return Stretch(found[1], float(found[2]), float(found[3])) if found else None


def recording_of(path: str) -> str:
    """Return the path of the file that a clip is in: its own, or that of the recording of which it is a stretch."""
    found = stretch_of(path)
    return found.recording if found else path


def samples_of(start: float, end: float, sr: int) -> tuple[int, int]:
    """Return the first sample of a stretch and the one behind its last: the nearest to its seconds."""
    return round(start * sr), round(end * sr)


def stretch_sha256(recording: str, start: float, end: float) -> str:
    """Return the digest of a stretch, in hexadecimal, from that of its recording's content."""
    return hashlib.sha256(f"{recording}#{start:.6f}-{end:.6f}".encode()).hexdigest()

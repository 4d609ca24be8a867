"""players(): a player for each clip of a page, or the reason why there is none."""

import base64
import hashlib
import io
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from cache.shared.segment import Segment, segment_of

# A page links to a larger file, or to files beyond this sum, instead of embedding them.
MAX_CLIP_BYTES = 400_000
MAX_PAGE_BYTES = 4_000_000

_HEAD_BYTES = 4096
# Encodings of WAV that browsers decode, by the tag in its header: PCM, float, A-law, mu-law.
_WAV_TAGS = (1, 3, 6, 7)
_WAV_EXTENSIBLE = 0xFFFE


class Player(NamedTuple):
    """The `source` that plays a clip, a data URI or a relative link; without one, the `reason` why nothing does."""

    source: str
    reason: str = ""


def players(data: Path, page_folder: Path, clips: Iterable[tuple[str, str | None]]) -> list[Player]:
    """Return a player for each clip: the first small ones are embedded, up to `MAX_PAGE_BYTES`; the others are linked.

    The links are relative to the folder of the page. The paths, with the sha256 if it is known, may come from a file
    that somebody else has made, so a path that leads out of DATA is not opened, and a file that is not audio is not
    shown.
    """
    found, budget = [], MAX_PAGE_BYTES
    for path, sha256 in clips:
        try:
            content, mime = _playable(data, path, sha256)
        except FileNotFoundError:
            lost = "the original clip" if data.is_dir() else "the folder of clips"
            how = "" if data.is_dir() else "; give its place with report --data"
            found.append(Player("", f"{lost} is gone{how}"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            found.append(Player("", f"the original clip cannot be played here: {reason}"))
        else:
            if content is not None and len(content) <= budget:
                budget -= len(content)
                found.append(Player(f"data:{mime};base64,{base64.b64encode(content).decode()}"))
            else:
                segment = segment_of(path)
                original = _original(data, segment.recording if segment else path)
                link = quote(os.fsencode(os.path.relpath(original, page_folder.resolve())))
                found.append(Player(f"{link}#t={segment.start:g},{segment.end:g}" if segment else link))
    return found


def _original(data: Path, path: str) -> Path:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise ValueError("its path leads out of the folder of clips")
    return data.resolve() / path


def _playable(data: Path, path: str, sha256: str | None) -> tuple[bytes | None, str]:
    """Return the content of a clip that is small enough to embed, and its MIME type."""
    segment = segment_of(path)
    original = _original(data, segment.recording if segment else path)
    if original.exists() and not original.is_file():  # opening a pipe would wait for ever
        raise ValueError("it is not a file any more")
    with original.open("rb") as file:
        mime = _mime_type(file.read(_HEAD_BYTES))
        if sha256 is not None and _sha256(original, segment) != sha256:
            raise ValueError("its content has changed since")
        if segment is None and mime is not None:
            file.seek(0)
            return (file.read() if original.stat().st_size <= MAX_CLIP_BYTES else None), mime
    content = (_sought(original, segment) if segment else None) or _converted(data.resolve() / path)
    if content is None and mime is None:
        raise ValueError(f"browsers do not play {PurePosixPath(original).suffix}, and it is too long to be converted")
    return content, "audio/wav"


def _sha256(original: Path, segment: Segment | None) -> str:
    content = _digest(original, original.stat().st_mtime_ns)
    return content if segment is None else segment.sha256(content)


@lru_cache(maxsize=64)
def _digest(original: Path, mtime_ns: int) -> str:
    # Many segments of one long recording may be on a page.
    with original.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sought(original: Path, segment: Segment) -> bytes | None:
    """Return a WAV of a segment that libsndfile finds without reading the sound before it; else None."""
    import soundfile

    try:
        with soundfile.SoundFile(original) as recording:
            first, last = segment.samples(recording.samplerate)
            if 2 * (last - first) * recording.channels > MAX_CLIP_BYTES:
                return None
            recording.seek(min(first, recording.frames))
            samples, out = recording.read(last - first, dtype="float32", always_2d=True), io.BytesIO()
            if segment.channel:
                samples = samples[:, segment.channel - 1 : segment.channel]
            soundfile.write(out, samples, recording.samplerate, format="WAV", subtype="PCM_16")
    except soundfile.LibsndfileError:
        return None
    return out.getvalue()


def _converted(clip: Path) -> bytes | None:
    """Return a WAV of a clip of any format; None if it is too long to embed."""
    import soundfile

    from featurize.audio.audio import ClipError
    from featurize.audio.pieces import open_clip

    parts: list[npt.NDArray[np.float32]] = []
    try:
        with open_clip(str(clip)) as audio:
            room = MAX_CLIP_BYTES // (2 * audio.n_channels)
            if audio.n_samples > room:
                return None
            for block in audio.blocks():
                parts.append(block * np.float32(audio.scale))
                room -= len(block)
                if room < 0:
                    return None
    except ClipError as error:
        raise ValueError(str(error)) from None
    out = io.BytesIO()
    soundfile.write(out, np.concatenate(parts), audio.sr, format="WAV", subtype="PCM_16")
    return out.getvalue()


def _mime_type(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        fmt = head[head.find(b"fmt ") :]
        tag, bits = (int.from_bytes(fmt[i : i + 2], "little") for i in (8, 22))
        if tag == _WAV_EXTENSIBLE:
            tag = int.from_bytes(fmt[32:34], "little")
        return "audio/wav" if tag in _WAV_TAGS and bits <= 32 else None
    if head[:4] == b"fLaC":
        return "audio/flac"
    if head[:4] == b"OggS":
        return "audio/ogg"
    # A tag, or a frame of any MPEG audio layer.
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0 and head[1] & 0x06):
        return "audio/mpeg"
    return None

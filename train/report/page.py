"""Pages: render() and save() a report as one file of HTML, players() of its clips, encoded() sound for a browser."""

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from cache.shared.errors import UserError, reason_in
from cache.shared.files import own_folder, sha256_of, write_file
from cache.shared.segment import Segment, segment_of
from cache.shared.text import human_seconds, human_size, printable
from cache.shared.types import Float32

_FOLDER = Path(__file__).parent / "templates"

# The colours of the page and its pictures by name, in the light and in the dark.
COLOURS = {
    "paper": ("#fdfdfc", "#15181c"),
    "ink": ("#1c2024", "#e6e8ea"),
    "muted": ("#5c646d", "#9ca5af"),
    "line": ("#dfe1e4", "#30363d"),
    "accent": ("#1f6394", "#79b8e8"),
    "wrong": ("#b0472a", "#f0916f"),
}
FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"

# Stands between a number and its unit, where no line may end.
_THIN = "\N{NARROW NO-BREAK SPACE}"

# A page links to a larger file, or to files beyond this sum, instead of embedding them.
MAX_CLIP_BYTES = 400_000
MAX_PAGE_BYTES = 4_000_000

_HEAD_BYTES = 4096
# Encodings of WAV that browsers decode, by the tag in its header: PCM, float, A-law, mu-law.
_WAV_TAGS = (1, 3, 6, 7)
_WAV_EXTENSIBLE = 0xFFFE
# Seconds that a page gets of a longer clip or finding.
LONGEST = 60.0
_MOST_CHANNELS = 2
# Browsers decode nothing below 3 kHz, and some nothing below 8.
_LOWEST_SR = 8_000


def render(report: Mapping[str, object], template: str = "report.html") -> str:
    """Return the page of a template in `templates`, filled with a report.

    Every string of the report is data: it is escaped, and invisible or text-reversing characters are shown as
    `printable()` shows them. A policy in the page keeps it from the network and from any script but its own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {
        "percent": lambda share: Markup(f"{100 * share:.1f}{_THIN}%"),
        "number": lambda n: Markup(f"{n:,}".replace(",", _THIN)),
        "seconds": lambda seconds: Markup(human_seconds(seconds).replace(" ", _THIN)),
        "prose": lambda text: Markup(escape(printable(text)).replace(" %", f"{_THIN}%")),
        "size": lambda n_bytes: Markup(human_size(n_bytes).replace(" ", _THIN)),
    }
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page: str = environment.get_template(template).render(
        report,
        style=Markup(styles()),
        script=Markup(script),
        script_digest=Markup(digest),
    )
    return page


def save(page: Path, html: str, pictures: Mapping[str, bytes]) -> Path:
    """Write a page, and its pictures as PNGs into the folder `figures` beside it; return the page."""
    drawn = own_folder(page.parent / "figures")
    files = {drawn / f"{name}.png": picture for name, picture in pictures.items()}
    for file, content in {**files, page: html.encode()}.items():
        write_file(file, content)
    return page


def styles() -> str:
    """Return the style of a page, in the colours that the reader's system asks for."""
    return f"{colours(f'--fonts:{FONTS};')}\n{(_FOLDER / 'report.css').read_text(encoding='utf-8')}"


def colours(more: str = "") -> str:
    """Return the style that gives each colour its name, and more besides."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in COLOURS.items()) for i in (0, 1))
    return f":root{{{light}{more}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _visible(value: object) -> object:
    # isprintable() looks at a picture's million characters at once, printable() at each.
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return printable(value)


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
        segment = segment_of(path)
        try:
            original = original_of(data, segment.recording if segment else path)
            content, mime = _playable(original, segment, sha256)
        except FileNotFoundError:
            lost = "the original clip" if data.is_dir() else "the folder of clips"
            how = "" if data.is_dir() else "; give its place with report --data"
            found.append(Player("", f"{lost} is gone{how}"))
        except (OSError, UserError) as error:
            found.append(Player("", f"the original clip cannot be played here: {reason_in(error)}"))
        else:
            if content is not None and len(content) <= budget:
                budget -= len(content)
                found.append(Player(f"data:{mime};base64,{base64.b64encode(content).decode()}"))
            else:
                link = quote(os.fsencode(os.path.relpath(original, page_folder.resolve())))
                found.append(Player(f"{link}#t={segment.start:g},{segment.end:g}" if segment else link))
    return found


def original_of(data: Path, path: str) -> Path:
    """Return the place of a clip; a UserError, if its path leads out of DATA."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise UserError("its path leads out of the folder of clips")
    return data.resolve() / path


def _playable(original: Path, segment: Segment | None, sha256: str | None) -> tuple[bytes | None, str]:
    """Return the content of a clip that is small enough to embed, and its MIME type."""
    if original.exists() and not original.is_file():  # opening a pipe would wait for ever
        raise UserError("it is not a file any more")
    with original.open("rb") as file:
        mime = _mime_type(file.read(_HEAD_BYTES))
        if sha256 is not None:
            content = _digest(original, original.stat().st_mtime_ns)
            if sha256 != (segment.sha256(content) if segment else content):
                raise UserError("its content has changed since")
        if segment is None and mime is not None:
            file.seek(0)
            return (file.read() if original.stat().st_size <= MAX_CLIP_BYTES else None), mime
    wav = _converted(original, segment)
    if wav is None and mime is None:
        raise UserError(f"browsers do not play {original.suffix}, and it is too long to be converted")
    return wav, "audio/wav"


@lru_cache(maxsize=64)
def _digest(original: Path, mtime_ns: int) -> str:
    # Many segments of one long recording may be on a page.
    return sha256_of(original)


def _converted(original: Path, segment: Segment | None) -> bytes | None:
    """Return a WAV of a clip of any format, or of a segment of one; None if it is too long to embed."""
    from featurize.audio.decode import open_audio

    channel = segment.channel if segment else 0
    with open_audio(str(original)) as audio:
        room = MAX_CLIP_BYTES // (2 * (1 if channel else audio.n_channels))
        first, last = segment.samples(audio.sr) if segment else (0, room + 1)
        blocks = [block for block in audio.span(first, min(last, first + room + 1)) if len(block)]
    samples = np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)
    if channel:
        samples = samples[:, channel - 1 : channel]
    if not samples.size:
        raise UserError("there is no sound in it")
    return encoded(samples, audio.sr) if len(samples) <= room else None


def playable(block: Float32) -> Float32:
    """Return a block of samples, (n, n_channels), with as many channels as a browser plays."""
    return block if block.shape[1] <= _MOST_CHANNELS else block.mean(axis=1, keepdims=True)


def encoded(samples: Float32, sr: int) -> bytes:
    """Return samples, (n, n_channels), as a WAV of 16 bits."""
    import soundfile

    # 16 bits hold nothing beyond full scale; not a number is silence.
    samples = np.nan_to_num(samples, posinf=0.0, neginf=0.0)
    if (factor := -(-_LOWEST_SR // sr)) > 1:
        import soxr

        samples, sr = soxr.resample(samples, sr, factor * sr), factor * sr
    peak = float(np.abs(samples).max(initial=0.0))
    out = io.BytesIO()
    soundfile.write(out, samples / max(peak, 1.0), sr, format="WAV", subtype="PCM_16")
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

"""render(): a report as one HTML page that needs no other file; save(): the page and its pictures in a run."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cache.shared.files import own_folder, replacing
from cache.shared.text import human_seconds, human_size, printable

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
        with replacing(file) as beside:
            beside.write_bytes(content)
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

"""What is in a cache, as a screen of text or as JSON."""

import textwrap
import time
from typing import Any

import numpy as np

from cache.file.layout import ROW_SHAPE
from cache.file.reader import Cache
from cache.look import changes
from cache.shared.text import human_count, human_seconds, human_size, printable

# Rejected clips shown by name in the text; --json has them all.
_N_REJECTED_SHOWN = 10


def as_json(cache: Cache) -> dict[str, Any]:
    """Return everything about a cache but its rows."""
    return {
        "cache": str(cache.file),
        "bytes": cache.file.stat().st_size,
        "n_clips": len(cache),
        "n_per_class": cache.n_per_class,
        "dtype": cache.X.dtype.name,
        "settings": cache.settings,
        "feature_version": cache.feature_version,
        "fingerprint": cache.fingerprint,
        "versions": cache.versions,
        "data": changes.as_json(changes.changes(cache)),
        "rejected": [{"path": path, "reason": reason} for path, reason in cache.rejections],
    }


def as_text(cache: Cache, width: int | None = None) -> str:
    """Return the screen that `python -m cache info` shows, no line wider than `width` where it can be broken."""
    status = cache.file.stat()
    age = human_seconds(time.time() - status.st_mtime)
    n, total = len(cache), float(cache.columns["duration"].sum())
    shortest, median, longest = np.quantile(cache.columns["duration"].astype(float), (0, 0.5, 1))
    rates, n_clips = np.unique(cache.columns["sr"], return_counts=True)
    formats, n_files = np.unique(cache.columns["format"], return_counts=True)
    of_each = {name: human_count(count, "clip") for name, count in cache.n_per_class.items()}
    facts = {
        "X": f"({n}, {', '.join(map(str, ROW_SHAPE))}) {cache.X.dtype}",
        "y": f"{cache.y.shape} {cache.y.dtype}, one-hot",
    }
    rest = {
        "audio": f"{human_seconds(total)} in all; a clip {shortest:.2f} to {longest:.2f} s, median {median:.2f} s",
        "sample rate": ", ".join(f"{rate} Hz ({count})" for rate, count in zip(rates, n_clips, strict=True)),
        "format": ", ".join(f"{name.decode()} ({k})" for name, k in zip(formats, n_files, strict=True)),
        "settings": ", ".join(f"{name} {value}" for name, value in cache.settings.items()),
        "made by": f"feature code {cache.feature_version}, "
        + ", ".join(f"{name} {version}" for name, version in cache.versions.items()),
        "fingerprint": cache.fingerprint,
        "data": _since(cache),
        "rejected": human_count(len(cache.rejections), "clip"),
    }
    lines = [f"{cache.file}: {human_size(status.st_size)}, made {age} ago"]
    # One by one: a class may be called like one of the facts.
    for name, value in (*facts.items(), *of_each.items(), *rest.items()):
        lines += _folded(printable(name), printable(value), width)
    shown = cache.rejections[:_N_REJECTED_SHOWN]
    lines += [f"  {path}: {reason}" for path, reason in shown]
    if len(shown) < len(cache.rejections):
        lines.append(f"  and {len(cache.rejections) - len(shown)} more (--json has them all)")
    return "\n".join(map(printable, lines))


def _since(cache: Cache) -> str:
    found = changes.changes(cache)
    if found.state == "unknown":
        return f"{found.data}: nothing is known of it ({found.reason})"
    if found.state == "unchanged":
        return f"{found.data}, unchanged since"
    counts = {"changed": found.n_changed, "gone": found.n_gone, "new": found.n_new}
    counted = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    return f"{found.data}, changed since: {counted}; `python -m featurize` brings the cache up to date"


def _folded(name: str, value: str, width: int | None) -> list[str]:
    line = f"{name:12} {value}"
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * 13, break_long_words=False, break_on_hyphens=False)

"""What is in a cache, as a screen of text or as JSON."""

import time
from typing import Any

import numpy as np

from cache.layout import ROW_SHAPE
from cache.reader import Cache
from cache.terminal import human_seconds, human_size, printable

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
        "rejected": [{"path": path, "reason": reason} for path, reason in cache.rejections],
    }


def as_text(cache: Cache) -> str:
    """Return the screen that `python -m cache info` shows."""
    status = cache.file.stat()
    age = human_seconds(time.time() - status.st_mtime)
    n, total = len(cache), float(cache.columns["duration"].sum())
    shortest, median, longest = np.quantile(cache.columns["duration"].astype(float), (0, 0.5, 1))
    rates, n_clips = np.unique(cache.columns["sr"], return_counts=True)
    formats, n_files = np.unique(cache.columns["format"], return_counts=True)
    lines = [
        f"{cache.file}: {human_size(status.st_size)}, made {age} ago",
        f"X            ({n}, {', '.join(map(str, ROW_SHAPE))}) {cache.X.dtype}",
        f"y            {cache.y.shape} {cache.y.dtype}, one-hot",
        *(f"{name:12} {count} clips" for name, count in cache.n_per_class.items()),
        f"audio        {human_seconds(total)} in all; a clip {shortest:.2f} to {longest:.2f} s, median {median:.2f} s",
        "sample rate  " + ", ".join(f"{rate} Hz ({count})" for rate, count in zip(rates, n_clips, strict=True)),
        "format       " + ", ".join(f"{name.decode()} ({k})" for name, k in zip(formats, n_files, strict=True)),
        "settings     " + ", ".join(f"{name} {value}" for name, value in cache.settings.items()),
        f"made by      feature code {cache.feature_version}, "
        + ", ".join(f"{name} {version}" for name, version in cache.versions.items()),
        f"fingerprint  {cache.fingerprint}",
        f"rejected     {len(cache.rejections)} clips",
    ]
    shown = cache.rejections[:_N_REJECTED_SHOWN]
    lines += [f"  {path}: {reason}" for path, reason in shown]
    if len(shown) < len(cache.rejections):
        lines.append(f"  and {len(cache.rejections) - len(shown)} more (--json has them all)")
    return "\n".join(map(printable, lines))

"""The content of a cache without its rows, as text or as JSON; and the check of its rows."""

import textwrap
import time
import zlib
from typing import Any

import numpy as np

from cache.file.columns import ABOVE, ROW_SHAPE
from cache.file.reader import Cache
from cache.look import changes
from cache.shared.errors import CacheError
from cache.shared.text import files_by_kind, human_count, human_seconds, human_size, printable

# The most clips that the text names of rejected ones, and of those with a remark.
_N_SHOWN = 10


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
        "versions": cache.header.versions,
        "data": changes.as_json(changes.changes(cache)),
        "max_per_class": cache.header.max_per_class,
        "tables": [str(path) for path in cache.table_paths],
        **{f"{role}_column": name for role, name in cache.header.columns._asdict().items()},
        "point": cache.header.point,
        "widen": cache.header.widen,
        "background": cache.header.background,
        "n_stretches": int(np.count_nonzero(cache.columns["end"])),
        "n_longer": cache.n_longer,
        "n_cut_short": cache.n_cut_short,
        "n_corrected": cache.n_corrected,
        "remarks": [{"path": path, "remark": remark} for path, remark in cache.remarks],
        "rejected": [{"path": path, "reason": reason} for path, reason in cache.rejections],
    }


def as_text(cache: Cache, width: int | None = None) -> str:
    """Return the screen that `python -m cache info` shows, no line wider than `width` where it can be broken."""
    status = cache.file.stat()
    found = changes.changes(cache)
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
        + ", ".join(f"{name} {version}" for name, version in cache.header.versions.items()),
        "fingerprint": cache.fingerprint,
        "asked for": ", ".join(cache.class_names)
        + f"; {cache.X.dtype.name}; "
        + (f"the first {cache.header.max_per_class} of each class" if cache.header.max_per_class else "all clips"),
        **({"labels": _labels(cache)} if cache.header.tables else {}),
        "data": _since(found),
        "rejected": human_count(len(cache.rejections), "clip"),
        **({"corrected": human_count(cache.n_corrected, "label")} if cache.n_corrected else {}),
    }
    lines = [f"{cache.file}: {human_size(status.st_size)}, made {_age(status.st_mtime)}"]
    if found.others:
        rest["skipped"] = f"{files_by_kind(found.others)}: not audio files, by their names"
    if longer := _longer(cache):
        rest["long clips"] = longer
    # Not merged: a class may have the name of a fact.
    for name, value in (*facts.items(), *of_each.items(), *rest.items()):
        lines += _folded(printable(name), printable(value), width)
    lines += _named(cache.rejections)
    if said := cache.remarks:
        n_high = sum(ABOVE in remark for _, remark in said)
        high = f", {n_high} mostly above {float(cache.settings['sr']) / 2000:g} kHz" if n_high else ""
        counted = f"{human_count(len(said), 'clip')}, {cache.n_cut_short} of them cut short{high}"
        lines += _folded("remarks", counted, width)
        lines += _named(said)
    return "\n".join(map(printable, lines))


def _named(clips: list[tuple[str, str]]) -> list[str]:
    lines = [f"  {path}: {words}" for path, words in clips[:_N_SHOWN]]
    return lines + ([f"  and {len(clips) - _N_SHOWN} more (--json has them all)"] if len(clips) > _N_SHOWN else [])


def _age(made: float) -> str:
    seconds = time.time() - made
    return (
        f"{human_seconds(seconds)} ago" if seconds >= 0 else f"{human_seconds(-seconds)} ahead of this machine's clock"
    )


def _labels(cache: Cache) -> str:
    """Describe the tables of labels of a cache, and how they are read."""
    segments = human_count(int(np.count_nonzero(cache.columns["end"])), "segment")
    how = [f"{role} in column {name}" for role, name in cache.header.columns._asdict().items() if name]
    how += [f"{cache.header.point:g} s around points"] * bool(cache.header.point)
    how += ["widened to the median"] * cache.header.widen
    how += [f"{cache.header.background} of each recording without a label"] * bool(cache.header.background)
    return "; ".join([f"{segments} from {', '.join(map(str, cache.table_paths))}", *how])


def _longer(cache: Cache) -> str:
    """Say how many clips are longer than a row shows."""
    if not (n := cache.n_longer):
        return ""
    return (
        f"{n} of {human_count(len(cache), 'clip')} {'is' if n == 1 else 'are'} longer than the"
        f" {cache.row_seconds:.2g} s that a row shows, the longest {float(cache.columns['duration'].max()):.1f} s"
    )


def _since(found: changes.Changes) -> str:
    if found.state == "unknown":
        return f"{found.data}: not compared ({found.reason})"
    if found.state == "unchanged":
        return f"{found.data}, unchanged since"
    counts = {"changed": found.n_changed, "gone": found.n_gone, "new": found.n_new}
    counted = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    if found.n_tables:
        counted = f"{counted}, " * bool(counted) + f"{human_count(found.n_tables, 'label table')} newer or missing"
    return f"{found.data}, changed since: {counted}; `python -m featurize` brings the cache up to date"


def _folded(name: str, value: str, width: int | None) -> list[str]:
    line = f"{name:12} {value}"
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * 13, break_long_words=False, break_on_hyphens=False)


def check_rows(cache: Cache) -> int:
    """Check the crc32 and the range of every row, and return how many rows there are.

    Raises a CacheError if the bytes of a row are not those that were written, or its values are not in [0, 1]; the
    message names the first such clip.
    """
    damaged = [i for i, expected in enumerate(cache.columns["crc32"].tolist()) if not _is_whole(cache, i, expected)]
    if damaged:
        path = printable(cache.columns["path"][damaged[0]].decode())
        raise CacheError(
            f"{cache.file}: {len(damaged)} of {len(cache)} rows are damaged, the first is row {damaged[0]} ({path});"
            " delete the file and make it again with `python -m featurize`"
        )
    return len(cache)


def _is_whole(cache: Cache, i: int, expected: int) -> bool:
    row = cache.X[i]
    # NaN fails every comparison, so this also finds it.
    return zlib.crc32(np.ascontiguousarray(row).data) == expected and bool((row >= 0).all() and (row <= 1).all())

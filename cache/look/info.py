"""The content of a cache without its rows, as text or as JSON; and the check of its rows."""

import textwrap
import time
import zlib

import numpy as np

from cache.file.columns import ABOVE, ROW_SHAPE
from cache.file.header import COLUMN_FIELDS
from cache.file.reader import Cache
from cache.look.changes import Changes, changes
from cache.shared.errors import CacheError
from cache.shared.segment import grid, segment_of
from cache.shared.text import files_by_kind, human_count, human_seconds, human_size, printable

# The most clips that the text names of rejected ones, and of those with a remark.
_N_SHOWN = 10


def facts(cache: Cache) -> dict[str, object]:
    """Return the entries about a cache that `cache info --json` and `featurize --json` have."""
    return {
        "cache": str(cache.file),
        "n_clips": cache.n_clips,
        "n_rows": len(cache),
        "n_per_class": cache.n_clips_per_class,
        "max_per_class": cache.header.max_per_class,
        "n_stretches": n_segments(cache),
        "n_longer": cache.n_longer,
        "n_silent_windows": n_silent_windows(cache),
        "n_cut_short": cache.n_cut_short,
        "remarks": [{"path": path, "remark": remark} for path, remark in cache.remarks],
        "rejected": [{"path": path, "reason": reason} for path, reason in cache.rejections],
        "fingerprint": cache.fingerprint,
    }


def as_json(cache: Cache) -> dict[str, object]:
    """Return everything about a cache but its rows."""
    header = cache.header
    return {
        **facts(cache),
        "bytes": cache.file.stat().st_size,
        "dtype": header.dtype,
        "settings": cache.settings,
        "feature_version": header.feature_version,
        "versions": header.versions,
        "data": changes(cache).as_json(),
        "tables": [str(path) for path in cache.table_paths],
        **{name: getattr(header, name) for name in (*COLUMN_FIELDS, "point", "widen", "background")},
        **header.cropping._asdict(),
        "n_corrected": cache.n_corrected,
    }


def as_text(cache: Cache, width: int | None = None) -> str:
    """Return the screen that `python -m cache info` shows, no line wider than `width` where it can be broken."""
    status = cache.file.stat()
    found = changes(cache)
    n, total = len(cache), float(cache.clip_durations.sum())
    shortest, median, longest = np.quantile(cache.clip_durations, (0, 0.5, 1))
    rates, n_clips = np.unique(cache.columns["sr"][cache.first_rows], return_counts=True)
    formats, n_files = np.unique(cache.columns["format"][cache.first_rows], return_counts=True)
    made_by = ", ".join(f"{name} {version}" for name, version in cache.header.versions.items())
    most = f"the first {cache.header.max_per_class} of each class" if cache.header.max_per_class else "all clips"
    silent = n_silent_windows(cache)
    # A fact that is "" is not shown.
    facts = [
        ("X", f"({n}, {', '.join(map(str, ROW_SHAPE))}) {cache.X.dtype}"),
        ("y", f"{cache.y.shape} {cache.y.dtype}, one-hot"),
        *clips_and_rows(cache).items(),
        ("audio", f"{human_seconds(total)} in all; a clip {shortest:.2f} to {longest:.2f} s, median {median:.2f} s"),
        ("sample rate", ", ".join(f"{rate} Hz ({count})" for rate, count in zip(rates, n_clips, strict=True))),
        ("format", ", ".join(f"{name.decode()} ({k})" for name, k in zip(formats, n_files, strict=True))),
        ("settings", ", ".join(f"{name} {value}" for name, value in cache.settings.items())),
        ("made by", f"feature code {cache.feature_version}, {made_by}"),
        ("fingerprint", cache.fingerprint),
        ("asked for", f"{', '.join(cache.class_names)}; {cache.X.dtype.name}; {most}{_crop(cache)}"),
        ("labels", _labels(cache)),
        ("data", _since(found)),
        ("rejected", human_count(len(cache.rejections), "clip")),
        ("corrected", human_count(cache.n_corrected, "label") if cache.n_corrected else ""),
        ("skipped", f"{files_by_kind(found.others)}: not audio files, by their names" if found.others else ""),
        ("long clips", long_clips(cache, f", the longest {longest:.1f} s")),
        ("silence", f"{human_count(silent, 'window')} without sound skipped" if silent else ""),
    ]
    lines = [f"{cache.file}: {human_size(status.st_size)}, made {_age(status.st_mtime)}"]
    for name, value in facts:
        lines += _folded(printable(name), printable(value), width) if value else []
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
    ago = time.time() - made
    return f"{human_seconds(ago)} ago" if ago >= 0 else f"{human_seconds(-ago)} ahead of this machine's clock"


def _labels(cache: Cache) -> str:
    """Describe the tables of labels of a cache, if it has some, and how they are read."""
    if not cache.header.tables:
        return ""
    segments = human_count(n_segments(cache), "segment")
    how = [f"{role} in column {name}" for role, name in cache.header.columns._asdict().items() if name]
    how += [f"{cache.header.point:g} s around points"] * bool(cache.header.point)
    how += ["widened to the median"] * cache.header.widen
    how += [f"{cache.header.background} of each recording without a label"] * bool(cache.header.background)
    return "; ".join([f"{segments} from {', '.join(map(str, cache.table_paths))}", *how])


def _crop(cache: Cache) -> str:
    crop, overlap, n = cache.header.cropping
    if crop == "middle":
        return ""
    which = f"{n} loudest windows" if crop == "loudest" else "windows"
    return f"; the {which} of long clips, overlapping by {overlap:g}"


def n_segments(cache: Cache) -> int:
    """Return how many clips are segments of recordings."""
    return sum("#" in path and segment_of(path) is not None for path in cache.clip_paths)


def clips_and_rows(cache: Cache) -> dict[str, str]:
    """Return in words how many clips each class has, and how many rows if those are more."""
    n_rows, n_clips = cache.n_per_class, cache.n_clips_per_class
    return {
        name: human_count(n, "clip") + (f", {human_count(n_rows[name], 'row')}" if n_rows[name] > n else "")
        for name, n in n_clips.items()
    }


def long_clips(cache: Cache, more: str = "") -> str:
    """Say how many clips are longer than a row shows, and more, and what their rows are; "" if there are none."""
    if not (n := cache.n_longer):
        return ""
    said = (
        f"{n} of {human_count(cache.n_clips, 'clip')} {'is' if n == 1 else 'are'} longer than the"
        f" {cache.row_seconds:.2g} s that a row shows{more}"
    )
    if cache.header.crop == "middle":
        return said
    kind = "loudest windows" if cache.header.crop == "loudest" else "windows"
    return f"{said}; their {kind} are {human_count(int(np.count_nonzero(cache.columns['clip'] != b'')), 'row')}"


def n_silent_windows(cache: Cache) -> int:
    """Return how many windows of clips have no row because there is no sound in them."""
    if cache.header.crop != "segments":
        return 0
    seconds, sr = (cache.columns[name][cache.first_rows] for name in ("clip_duration", "sr"))
    is_cut = seconds > 0
    n_windows = sum(
        grid(cache.row_seconds, cache.header.overlap, rate).n_windows(round(rate * duration))
        for rate, duration in zip(sr[is_cut].tolist(), seconds[is_cut].tolist(), strict=True)
    )
    return n_windows - int(np.count_nonzero(cache.columns["clip"] != b""))


def _since(found: Changes) -> str:
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

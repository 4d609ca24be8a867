"""Summary of a run for its user, as text or as JSON."""

import zlib
from collections import Counter
from typing import Any

import numpy as np

from cache.file.layout import ABOVE, ROW_SHAPE
from cache.file.reader import Cache
from cache.look.remarks import n_cut_short, remarks
from cache.look.repeats import equal_content
from cache.shared.segment import recording_of, segment_of
from cache.shared.text import files_by_kind, human_count, human_seconds, human_size, printable
from featurize.update.update import Result


def as_json(result: Result) -> dict[str, Any]:
    """Return everything a program may want to know of a run."""
    cache = result.cache
    n_duplicates, conflicts = repeated_content(cache)
    where = {clip.path: clip.where for clip in result.found.clips}
    return {
        "cache": str(cache.file),
        "n_clips": len(cache),
        "n_computed": result.n_computed,
        "n_reused": result.n_reused,
        "n_removed": result.n_removed,
        "n_per_class": cache.n_per_class,
        "max_per_class": cache.max_per_class,
        "n_stretches": int(np.count_nonzero(cache.columns["end"])),
        "n_silent": len(silent(cache)),
        "n_cut_short": n_cut_short(cache),
        "remarks": [{"path": path, "remark": remark} for path, remark in remarks(cache)],
        "others": dict(result.found.others),
        "n_duplicates": n_duplicates,
        "conflicts": conflicts,
        "rejected": [
            {"path": path, "reason": reason} | ({"where": where[path]} if where.get(path) else {})
            for path, reason in cache.rejections
        ],
        "ignored": [{"path": path, "reason": f"it is {what}, not a file"} for path, what in result.found.ignored],
        "seconds": round(result.seconds, 3),
        "fingerprint": cache.fingerprint,
    }


def as_text(result: Result) -> str:
    """Return the summary that a person reads."""
    cache = result.cache
    n_duplicates, conflicts = repeated_content(cache)
    lines = [f"{printable(name):12} {n:7} clip{'s' * (n != 1)}" for name, n in cache.n_per_class.items()]
    lines.append(
        f"computed {result.n_computed}, reused {result.n_reused}, removed {result.n_removed},"
        f" rejected {len(cache.rejections)}" + (f", cut short {n_cut_short(cache)}" if n_cut_short(cache) else "")
    )
    said = dict(remarks(cache))
    where = {clip.path: f"{clip.where}: " for clip in result.found.clips if clip.where}
    lines += [
        f"rejected {printable(path)}: {where.get(path, '')}{printable(reason)}" for path, reason in cache.rejections
    ]
    lines += [f"ignored {printable(path)}: it is {what}, not a file" for path, what in result.found.ignored]
    lines += [
        f"silent {printable(path)}: {said.pop(path, 'there is no sound in it, its row is all zeros')}"
        for path in silent(cache)
    ]
    lines += [
        f"used {printable(path)}: {where.get(path, '')}{printable(remark)}"
        for path, remark in said.items()
        if ABOVE not in remark
    ]
    lines += [f"conflict {' = '.join(map(printable, paths))}: the same content in two classes" for paths in conflicts]
    if cache.max_per_class and max(cache.n_per_class.values()) == cache.max_per_class:
        lines.append(
            f"at most {human_count(cache.max_per_class, 'clip')} of a class, as was asked; --max-per-class 0 takes all"
        )
    if result.found.others:
        lines.append(f"left out, no audio by their names: {files_by_kind(result.found.others)}")
    if n_duplicates:
        lines.append(f"clips that repeat another of their class: {n_duplicates}; a split keeps them together")
    if recordings := Counter(recording_of(path) for path in cache.paths if segment_of(path)):
        lines.append(
            f"{human_count(recordings.total(), 'clip')} are segments of"
            f" {human_count(len(recordings), 'recording')}, each a group that a split keeps together"
        )
    size = human_size(cache.file.stat().st_size)
    shape = " x ".join(map(str, (len(cache), *ROW_SHAPE[:2])))
    lines.append(f"{cache.file}: {size}, {shape} {cache.X.dtype}, {human_seconds(result.seconds)}")
    return "\n".join(lines)


def silent(cache: Cache) -> list[str]:
    """Return the paths of the clips whose spectrogram is zero throughout, by the crc of such a row."""
    zeros = zlib.crc32(bytes(cache.X.nbytes // len(cache)))
    return [cache.columns["path"][i].decode() for i in np.flatnonzero(cache.columns["crc32"] == zeros)]


def repeated_content(cache: Cache) -> tuple[int, list[list[str]]]:
    """Find clips of equal content.

    Returns
    -------
    int
        How many clips repeat an earlier clip of their own class.
    list of list of str
        The paths of clips that have the same content but not the same class, grouped by content.
    """
    labels, repeats = cache.labels, equal_content(cache)
    n_duplicates = sum(len(rows) - len({int(labels[i]) for i in rows}) for rows in repeats)
    conflicts = [rows for rows in repeats if len({int(labels[i]) for i in rows}) > 1]
    return n_duplicates, [[cache.columns["path"][i].decode() for i in rows] for rows in conflicts]

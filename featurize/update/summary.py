"""Summary of a run for its user, as text or as JSON."""

from collections import Counter
from typing import Any

import numpy as np

from cache.file.columns import ABOVE, ROW_SHAPE
from cache.shared.segment import recording_of, segment_of
from cache.shared.text import files_by_kind, human_count, human_seconds, human_size, printable
from featurize.update.update import Result


def as_json(result: Result) -> dict[str, Any]:
    """Return everything a program may want to know of a run."""
    cache = result.cache
    where = {clip.path: clip.where for clip in result.found.clips}
    return {
        "cache": str(cache.file),
        "n_clips": len(cache),
        "n_computed": result.n_computed,
        "n_reused": result.n_reused,
        "n_removed": result.n_removed,
        "n_per_class": cache.n_per_class,
        "max_per_class": cache.header.max_per_class,
        "n_stretches": int(np.count_nonzero(cache.columns["end"])),
        "n_silent": len(cache.silent),
        "n_cut_short": cache.n_cut_short,
        "remarks": [{"path": path, "remark": remark} for path, remark in cache.remarks],
        "others": dict(result.found.others),
        "n_duplicates": cache.n_duplicates,
        "conflicts": cache.conflicts,
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
    lines = [f"{printable(name):12} {n:7} clip{'s' * (n != 1)}" for name, n in cache.n_per_class.items()]
    lines.append(
        f"computed {result.n_computed}, reused {result.n_reused}, removed {result.n_removed},"
        f" rejected {len(cache.rejections)}" + (f", cut short {cache.n_cut_short}" if cache.n_cut_short else "")
    )
    said = dict(cache.remarks)
    where = {clip.path: f"{clip.where}: " for clip in result.found.clips if clip.where}
    lines += [
        f"rejected {printable(path)}: {where.get(path, '')}{printable(reason)}" for path, reason in cache.rejections
    ]
    lines += [f"ignored {printable(path)}: it is {what}, not a file" for path, what in result.found.ignored]
    lines += [
        f"silent {printable(path)}: {said.pop(path, 'there is no sound in it, its row is all zeros')}"
        for path in cache.silent
    ]
    lines += [
        f"used {printable(path)}: {where.get(path, '')}{printable(remark)}"
        for path, remark in said.items()
        if ABOVE not in remark
    ]
    lines += [
        f"conflict {' = '.join(map(printable, paths))}: the same content in two classes" for paths in cache.conflicts
    ]
    limit = cache.header.max_per_class
    if limit and max(cache.n_per_class.values()) == limit:
        lines.append(f"at most {human_count(limit, 'clip')} of a class, as was asked; --max-per-class 0 takes all")
    if result.found.others:
        lines.append(f"left out, no audio by their names: {files_by_kind(result.found.others)}")
    if cache.n_duplicates:
        lines.append(f"clips that repeat another of their class: {cache.n_duplicates}; a split keeps them together")
    if recordings := Counter(recording_of(path) for path in cache.paths if segment_of(path)):
        lines.append(
            f"{human_count(recordings.total(), 'clip')} are segments of"
            f" {human_count(len(recordings), 'recording')}, each a group that a split keeps together"
        )
    size = human_size(cache.file.stat().st_size)
    shape = " x ".join(map(str, (len(cache), *ROW_SHAPE[:2])))
    lines.append(f"{cache.file}: {size}, {shape} {cache.X.dtype}, {human_seconds(result.seconds)}")
    return "\n".join(lines)

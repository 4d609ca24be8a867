"""Chosen: clips of caches that become a cache of their own, in the order and the number that featurize gives them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cache.file.columns import COLUMNS, Columns, Rejected
from cache.file.header import Header
from cache.file.reader import Cache
from cache.shared.segment import Segment, segment_of
from cache.shared.types import Rows


@dataclass(frozen=True)
class Chosen:
    """Clips of caches that become a cache of their own."""

    caches: Sequence[Cache]
    header: Header  # that of the new cache
    columns: Columns  # those of all rows of the caches, one cache behind the other
    labels: Rows  # the label index that each of these rows has in the new cache; -1 if its class is not there
    found_in: Rows  # that of the class of its folder or table, before corrections
    clips: Mapping[str, Sequence[int]]  # the rows of each clip that is chosen, by the clip's path
    rejected: Sequence[Rejected]

    @property
    def folders(self) -> set[str]:
        """The names of the folders and labels that belong to the classes."""
        return {name for members in self.header.members.values() for name in members}

    @property
    def rows(self) -> Rows:
        """The rows that are chosen, in order."""
        return np.array([row for rows in self.clips.values() for row in rows], np.intp)


class _Place(NamedTuple):
    """The place of a file in a cache, whose files are in the order of these."""

    label: int
    subset: str
    member: int
    path: str


def columns_of(caches: Sequence[Cache]) -> Columns:
    """Return the columns of caches, one behind the other."""
    return {name: np.concatenate([cache.columns[name] for cache in caches]) for name in COLUMNS}


def found_in(cache: Cache) -> Rows:
    """Return the label index of each row's folder or table, before corrections."""
    corrected = cache.columns["corrected"]
    return np.where(corrected > 0, corrected - 1, cache.labels)


def clips_of(columns: Columns) -> dict[str, list[int]]:
    """Return the rows of each clip, by its path."""
    clips: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(np.where(columns["clip"] == b"", columns["path"], columns["clip"]).tolist()):
        clips[path.decode()].append(row)
    return clips


def rejected_of(cache: Cache) -> list[Rejected]:
    """Return the clips of a cache that could not be used."""
    stamps = (cache.rejected[f"rejected_{name}"].tolist() for name in ("size", "mtime_ns", "inode"))
    return [
        Rejected(path, size, mtime_ns, reason, inode)
        for (path, reason), size, mtime_ns, inode in zip(cache.rejections, *stamps, strict=True)
    ]


def subset_and_folder(path: str, folders: Collection[str]) -> tuple[str, str]:
    """Return the subset in which a file lies, or "", and its class folder; "" if that is none of these."""
    first, *rest = path.split("/", 2)
    if first in folders:
        return "", first
    return (first, rest[0]) if rest and rest[0] in folders else ("", "")


def in_order(chosen: Chosen) -> Chosen:
    """Return the clips in the order of featurize: files by class and path, and behind them segments by recording.

    With a `max_per_class` in the header they are as many of each class as featurize takes, and those that it takes.
    """
    members = [(label, i, name) for label, of in enumerate(chosen.header.members.values()) for i, name in enumerate(of)]
    numbers = {name: (label, i) for label, i, name in members}

    def place(path: str) -> _Place | None:
        subset, folder = subset_and_folder(path, numbers)
        return _Place(numbers[folder][0], subset, numbers[folder][1], path) if folder else None

    segments = {path: segment for path in chosen.clips if (segment := segment_of(path))}
    files = {found: path for path in chosen.clips if path not in segments and (found := place(path))}
    bad = {found: one for one in chosen.rejected if not segment_of(one.path) and (found := place(one.path))}
    kept_bad = {*bad}
    in_turn = sorted(segments, key=lambda path: segments[path][:3])
    if most := chosen.header.max_per_class:
        looked_at: Counter[tuple[int, str]] = Counter()
        for one in sorted({*files, *bad}):
            if looked_at[one.label, one.subset] == most:
                files.pop(one, None)
                kept_bad.discard(one)
            elif one in files or bad[one].size >= 0:
                looked_at[one.label, one.subset] += 1
        n_files: Counter[int] = Counter()
        for (label, _), n in looked_at.items():
            n_files[label] += n
        in_turn = _in_turn(chosen, [(path, segments[path]) for path in in_turn], most, n_files)
    paths = [*(files[one] for one in sorted(files)), *in_turn]
    gone = {bad[one].path for one in bad.keys() - kept_bad}
    return replace(
        chosen,
        clips={path: chosen.clips[path] for path in paths},
        rejected=sorted(one for one in chosen.rejected if one.path not in gone),
    )


def _in_turn(chosen: Chosen, segments: Sequence[tuple[str, Segment]], most: int, n_files: Counter[int]) -> list[str]:
    """Return at most as many segments of a class as wanted: one of each recording, then a second of each, .."""
    turns: Counter[tuple[int, str]] = Counter()
    by_turn: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i, (path, segment) in enumerate(segments):
        label = int(chosen.found_in[chosen.clips[path][0]])
        by_turn[label].append((turns[label, segment.recording], i))
        turns[label, segment.recording] += 1
    taken = sorted(i for label, turn in by_turn.items() for _, i in sorted(turn)[: max(0, most - n_files[label])])
    return [segments[i][0] for i in taken]

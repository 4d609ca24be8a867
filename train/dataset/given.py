"""Splits that are given: by the folders of DATA, by a table, or by a list for each subset."""

import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from cache import Cache
from cache.labels.table import columns_of, file_column, header_of, rows_of, shown
from cache.shared.errors import UserError
from cache.shared.files import read_lines
from cache.shared.segment import recording_of
from cache.shared.text import human_count
from cache.shared.tree import SUBSETS, subsets_of
from cache.shared.types import Rows
from train.dataset.splits import SPLITS, Subsets, groups_apart, refuse_few_groups, split_clips

# The word that stands for a table, and ignores every split that is given.
RANDOM = "random"
# Faults of a table that are named.
_N_NAMED = 5


def choose_split(
    cache: Cache,
    groups: Rows,
    val: float,
    test: float,
    seed: int,
    table: str | None = None,
    val_list: str | None = None,
    test_list: str | None = None,
    asked: Collection[str] = (),
) -> tuple[Subsets, list[str]]:
    """Put every clip into train, validation or test, as it is given or else at random.

    Returns the index of every clip into `SPLITS`, and a line for each thing that does not fit: paths that no clip has,
    groups in two subsets, a subset without a class, a share without effect. Raises a UserError if a file cannot be
    read, names no clip, or contradicts itself, or a subset that is drawn cannot have clips of every class.

    Parameters
    ----------
    val, test
        Shares of all clips, as for split_clips(); where the given split lacks a subset, of its training clips.
    table
        A table with the columns `path` (or `file`) and `split`; "random": given splits are ignored.
    val_list, test_list
        Text files with a path on each line. A clip that neither a list nor the table names is a training clip.
    asked
        Those of "val" and "test" whose share the user chose.
    """
    if table is not None and (val_list is not None or test_list is not None):
        raise UserError("--split names all subsets; leave out --val-list and --test-list, or --split")
    remarks: list[str] = []
    paths = cache.clip_paths
    subset = np.full(cache.n_clips, -1, np.int8)
    if table is not None and table != RANDOM:
        remarks += _assign(subset, paths, _read_table(Path(table)), Path(table))
    for name, file in (("val", val_list), ("test", test_list)):
        if file is not None:
            listed = [line.strip().strip('"') for line in read_lines(Path(file))]
            remarks += _assign(subset, paths, [(path, name) for path in listed if path], Path(file))
    if table is None and val_list is None and test_list is None:
        for clip, found in enumerate(subsets_of(paths, cache.header.folders)):
            subset[clip] = -1 if found is None else SPLITS.index(found)
    if (subset != -1).any():
        remarks += _complete(cache, groups, subset)
        there = [name for i, name in enumerate(SPLITS) if (subset == i).any()]
        remarks += [
            f"--{name} has no effect: the given split has its own {name} clips; --split random draws others"
            for name in asked
            if name in there
        ]
        val, test = (0.0 if name in there else share for name, share in (("val", val), ("test", test)))
    else:
        subset[:] = 0
    if val or test:
        clips = np.flatnonzero(subset == 0)
        wanted = [name for name, share in zip(SPLITS, (1, val, test), strict=True) if share]
        why = f"each of {', '.join(wanted)} needs one: add recordings, ask for fewer subsets with --val 0 or --test 0"
        refuse_few_groups(cache, groups, clips, len(wanted), why)
        subset[clips] = split_clips(cache.clip_labels[clips], groups[clips], cache.class_names, val, test, seed)
    return subset, remarks


def _complete(cache: Cache, groups: Rows, subset: Subsets) -> list[str]:
    """Put the clips that a given split does not name into train, and return a line for each thing that does not fit."""
    paths, remarks = cache.clip_paths, []
    unnamed = np.flatnonzero(subset == -1)
    if len(unnamed) and (subset == 0).any():
        some = f"{human_count(len(unnamed), 'clip')}, such as {paths[unnamed[0]]}"
        remarks.append(f"the given split does not name {some}: used for training")
    subset[unnamed] = 0
    if apart := groups_apart(groups, subset):
        a, b = apart.clips
        remarks.append(
            f"the given split puts {human_count(apart.n_groups, 'group')} ({human_count(apart.n_clips, 'clip')}) in "
            f"two subsets, so its score flatters: {paths[a]} is in {SPLITS[subset[a]]}, and {paths[b]}, of the same "
            f"speaker, recording or content, in {SPLITS[subset[b]]}"
        )
    if not (subset == 0).any():
        raise UserError("the given split leaves no clips to train on")
    for i, name in enumerate(SPLITS):
        labels = cache.clip_labels[subset == i]
        lacking = [of for label, of in enumerate(cache.class_names) if len(labels) and label not in labels]
        if lacking and name == "train":
            raise UserError(f"the given split leaves no clip of {', '.join(lacking)} to train on")
        if lacking:
            remarks.append(f"the given split has no clip of {', '.join(lacking)} in {name}")
    return remarks


def _assign(subset: Subsets, paths: Sequence[str], named: Sequence[tuple[str, str]], file: Path) -> list[str]:
    """Put the clips that a file names into their subsets, and return a line about paths that no clip has."""
    unknown = []
    # The name of a recording stands for all of its segments.
    files = [recording_of(path) for path in paths]
    names = [name for name, _ in named]
    matches = zip(match_paths(names, paths), match_paths(names, files), strict=True)
    for (name, split), (rows, of_file) in zip(named, matches, strict=True):
        rows = rows or of_file
        if not rows:
            unknown.append(name)
        elif len(rows) > 1 and len({files[row] for row in rows}) > 1:
            found = ", ".join(paths[row] for row in rows[:3])
            raise UserError(f"{file}: {name!r} is the end of {len(rows)} paths ({found}); give more of the path")
        elif any(subset[row] not in (-1, SPLITS.index(split)) for row in rows):
            raise UserError(f"{file} puts {paths[rows[0]]} in {split}, and it is in {SPLITS[subset[rows[0]]]} already")
        else:
            subset[rows] = SPLITS.index(split)
    if len(unknown) == len(named):
        raise UserError(
            f"none of the {len(named)} paths in {file} belongs to a clip, such as {unknown[0]!r}"
            if named
            else f"{file} names no clip"
        )
    if not unknown:
        return []
    return [f"{file}: no clip has {len(unknown)} of the {len(named)} paths, such as {unknown[0]}"]


def match_paths(names: Sequence[str], paths: Sequence[str]) -> list[list[int]]:
    """Find paths by their endings, however somebody wrote them: longer or shorter, in any Unicode form.

    For each name these are the rows whose path ends with it, or which it ends with, in whole parts; only the row of an
    equal path if there is one.
    """
    parts = [_parts(path) for path in paths]
    rows_of: dict[str, list[int]] = {}
    for row, words in enumerate(parts):
        rows_of.setdefault(words[-1], []).append(row)
    found = []
    for name in names:
        words = _parts(name)
        rows = [row for row in rows_of.get(words[-1], []) if all(map(str.__eq__, words[::-1], parts[row][::-1]))]
        equal = [row for row in rows if parts[row] == words]
        found.append(equal or rows)
    return found


def _parts(path: str) -> list[str]:
    words = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return [word for word in words if word not in ("", ".")] or [""]


def _read_table(file: Path) -> list[tuple[str, str]]:
    """Return the path of each line of a table, and the name of its subset."""
    lines = read_lines(file)
    header = header_of(lines)
    path, split = file_column(header), header.first_of(["split"])
    if path is None or split is None:
        raise UserError(f"{file} needs the columns path (or file) and split; it has {columns_of(header) or 'none'}")
    named, faults = [], []
    for row in rows_of(lines, header):
        if fault := row.fault or _fault(row.cells[path], row.cells[split]):
            faults.append(f"line {row.number}: {fault}")
        else:
            named.append((row.cells[path], SUBSETS[row.cells[split].lower()]))
    if faults:
        more = f"; and {human_count(len(faults) - _N_NAMED, 'more line')}" if len(faults) > _N_NAMED else ""
        raise UserError(f"{file}, {'; '.join(faults[:_N_NAMED])}{more}")
    return named


def _fault(path: str, split: str) -> str:
    if not path:
        return "it has no path"
    return "" if split.lower() in SUBSETS else f"the split is {shown(split)!r}; write train, val or test"

"""Folds: every clip in the test part of one of them, drawn at random or as the names give them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cache import Cache
from cache.shared.errors import UserError
from cache.shared.text import human_count
from cache.shared.types import Rows
from train.dataset.splits import groups_apart, names_by, refuse_few_groups, split_clips


class Fold(NamedTuple):
    """The clips of one fold; each number counts from 1."""

    repeat: int
    number: int
    train: Rows
    val: Rows
    test: Rows


def make_folds(
    cache: Cache, groups: Rows, val: float, seed: int, n_folds: int, n_repeats: int, fold_by: str | None = None
) -> list[Fold]:
    """Draw the folds of every repeat; no group is in two parts of a fold that is drawn.

    Raises a UserError if a class has fewer groups than there are folds, a clip has no fold, or a training part cannot
    hold every class.

    Parameters
    ----------
    val
        Share of all clips that is taken from each training part to choose the epoch.
    fold_by
        A regular expression whose one (group) captures, in the path of every clip, the name of the fold that tests it.
        Then there is a fold for each name, in their order, and a single repeat.
    """
    labels = cache.clip_labels
    if fold_by is not None:
        tests = [(1, number, test) for number, test in enumerate(_named_folds(cache.clip_paths, fold_by), start=1)]
    else:
        tests = list(_drawn_folds(cache, groups, seed, n_folds, n_repeats))
    folds = []
    for repeat, number, test in tests:
        train = np.setdiff1d(np.arange(len(labels)), test)
        within = np.unique(groups[train], return_inverse=True)[1]
        share = val * len(labels) / len(train)
        subset = split_clips(labels[train], within, cache.class_names, share, 0.0, seed + repeat - 1)
        folds.append(Fold(repeat, number, train[subset == 0], train[subset == 1], test))
    return folds


def shared_by_folds(paths: list[str], groups: Rows, folds: list[Fold]) -> list[str]:
    """Say in a line how many groups are in the test parts of several folds of a repeat, and name one."""
    fold_of = np.zeros(len(paths), np.intp)
    for fold in folds:
        fold_of[fold.test] = fold.number
    apart = groups_apart(groups, fold_of)
    if apart is None:
        return []
    a, b = apart.clips
    return [
        f"{human_count(apart.n_groups, 'group')} of one speaker, recording or content in several folds, so the score "
        f"flatters, such as {paths[a]} (fold {fold_of[a]}) and {paths[b]} (fold {fold_of[b]})"
    ]


def _drawn_folds(
    cache: Cache, groups: Rows, seed: int, n_folds: int, n_repeats: int
) -> Iterator[tuple[int, int, Rows]]:
    from sklearn.model_selection import StratifiedGroupKFold

    labels = cache.clip_labels
    refuse_few_groups(cache, groups, n_folds, f"--folds {n_folds} needs as many: ask for fewer folds, add recordings")
    for repeat in range(n_repeats):
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed + repeat)
        for number, (_, test) in enumerate(splitter.split(labels, labels, groups), start=1):
            if not len(test):
                raise UserError(f"--folds {n_folds}: the groups are too large for so many folds; ask for fewer")
            yield repeat + 1, number, test


def _named_folds(paths: list[str], fold_by: str) -> list[Rows]:
    names = names_by(fold_by, paths, "--fold-by")
    without = [path for path, name in zip(paths, names, strict=True) if name is None]
    if without:
        raise UserError(
            f"--fold-by {fold_by!r} finds no fold in {len(without)} of the {len(paths)} paths, such as {without[0]!r}"
        )
    # 10 after 9.
    found = sorted(
        {str(name) for name in names}, key=lambda name: [int(w) if w.isdecimal() else w for w in _words(name)]
    )
    if len(found) < 2:
        raise UserError(f"--fold-by {fold_by!r} finds one fold only, {found[0]!r}, in all paths; it needs at least two")
    return [np.flatnonzero([name == fold for name in names]) for fold in found]


def _words(name: str) -> list[str]:
    """Cut a name into text and numbers in turn, text first."""
    return re.split(r"(\d+)", name)

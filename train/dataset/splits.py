"""Splits and folds, stratified and grouped: no speaker, recording or duplicate is in two of their parts."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.cli import command_line
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.text import human_count
from cache.shared.types import Ints, Rows

SPLITS = ("train", "val", "test")
Subsets = npt.NDArray[np.int8]  # an index into SPLITS for every clip

# Groups in the file names of public sets: the speaker of Speech Commands, the source recording of ESC-50.
KNOWN_NAMES = (
    re.compile(r"(.+)_nohash_\d+"),  # <speaker>_nohash_<take>
    re.compile(r"\d+-(\d+)-[A-Z]-\d+"),  # <fold>-<recording>-<take>-<class>
)


def clip_groups(paths: list[str], sha256: npt.NDArray[np.bytes_], pattern: str | None = None) -> Rows:
    """Return which clips belong together: the group index of every clip, from 0.

    Two clips share a group when they are segments of one recording, when their names give the same speaker or source
    recording, or when their content is equal; groups that share a clip are one group.

    The pattern is a regular expression with one (group), searched in each path: the captured text names the clip's
    group, and a clip that it does not match is a group of its own. Without one, `KNOWN_NAMES` are tried on the file
    name. Raises a UserError if it is not a regular expression, has not exactly one (group), or matches no path.
    """
    names = group_names(paths, pattern)
    keys = [("name", name) if name is not None else ("path", path) for name, path in zip(names, paths, strict=True)]
    files = [recording_of(path) for path in paths]
    return _connected(_numbered(keys), _numbered(sha256.tolist()), _numbered(files))


def group_names(paths: list[str], pattern: str | None = None) -> list[str | None]:
    """Return the name of each clip's group by its path, see clip_groups(); None where the path gives none."""
    return names_by(pattern, paths) if pattern is not None else [_known_name(path) for path in paths]


def groups_of(cache: Cache, pattern: str | None = None) -> Rows:
    """Return clip_groups() of the clips of a cache."""
    return clip_groups(cache.clip_paths, cache.columns["sha256"][cache.first_rows], pattern)


def refuse_one_class(file: Path, class_names: Sequence[str]) -> None:
    """Raise a UserError unless a cache has two classes to tell apart."""
    if len(class_names) < 2:
        raise UserError(
            f"{file} has one class only ({', '.join(class_names)}), and there is nothing to tell it from; add a folder "
            "of other sounds to DATA, such as `background`, and featurize again with --classes all"
        )


def refuse_few_groups(cache: Cache, groups: Ints, clips: Rows, n_needed: int, why: str) -> None:
    """Raise a UserError if classes have fewer independent groups than are needed, with the command to go on without.

    Only `clips` count. In the message `why` follows the classes: what needs the groups, and what to do about it.
    """
    labels, groups = cache.clip_labels[clips], groups[clips]
    n_groups = {name: len(np.unique(groups[labels == label])) for label, name in enumerate(cache.class_names)}
    few = [name for name, n in n_groups.items() if n < n_needed]
    if not few:
        return
    kept = [name for name in cache.class_names if name not in few]
    found = ", ".join(f"{name} {n}" for name, n in n_groups.items())
    without = f", or train without {' and '.join(few)}: {_without(cache, kept)}" if len(kept) > 1 else ""
    few_have = f"{', '.join(few)} {'has' if len(few) == 1 else 'have'} clips of fewer than "
    raise UserError(
        f"{few_have}{human_count(n_needed, 'independent group')} (speakers, recordings or files; there are: {found}); "
        f"{why}{without}"
    )


def _without(cache: Cache, kept: Sequence[str]) -> str:
    """Say how to train on some classes of a cache alone."""
    data = Path(cache.data_folder)
    shown = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
    elsewhere: list[str | Path] = ["--cache", cache.file] if cache.file.absolute() != data / "features.h5" else []
    command = command_line("featurize", shown, "--classes", ",".join(kept), *elsewhere)
    return f"`{command}`, then this command again"


class Apart(NamedTuple):
    """Groups with clips in several parts: how many there are, how many clips they have, and two clips of one group."""

    n_groups: int
    n_clips: int
    clips: tuple[int, int]


def groups_apart(groups: Ints, part: Ints) -> Apart | None:
    """Return the groups whose clips are not all in one part; None if there are none."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    others = np.flatnonzero(part != part[first[group]])
    if not len(others):
        return None
    apart = np.unique(group[others])
    return Apart(len(apart), int(np.isin(group, apart).sum()), (int(first[group[others[0]]]), int(others[0])))


def names_by(pattern: str, paths: list[str], option: str = "--group-by") -> list[str | None]:
    """Return the text that the one (group) of a regular expression captures in each path; None where it does not match.

    The path of a segment is that of its recording.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option} {pattern!r} is not a regular expression: {error}") from None
    if regex.groups != 1:
        raise UserError(f"{option} {pattern!r} has {regex.groups} groups in parentheses and needs exactly one")
    names = [match[1] if (match := regex.search(recording_of(path))) else None for path in paths]
    if not any(name is not None for name in names):
        raise UserError(f"{option} {pattern!r} matches none of the {len(paths)} paths, such as {paths[0]!r}")
    return names


def _known_name(path: str) -> str | None:
    stem = recording_of(path).rpartition("/")[2].rpartition(".")[0]
    return next((match[1] for regex in KNOWN_NAMES if (match := regex.fullmatch(stem))), None)


def _numbered(keys: Sequence[object]) -> Ints:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def _connected(first: Ints, *others: Ints) -> Rows:
    # Every row takes the least label among the rows that share one of its numbers, until nothing changes. SciPy's
    # connected_components does the same, but its import would delay the first training step.
    label = np.arange(len(first))
    while True:
        before = label
        for ids in (first, *others):
            least = np.full(len(label), len(label))
            np.minimum.at(least, ids, label)
            label = least[ids]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1]


def split_clips(
    labels: Ints, groups: Ints, class_names: tuple[str, ...], val: float, test: float, seed: int
) -> Subsets:
    """Put every clip into train, validation or test: return the index of each into `SPLITS`.

    Groups of several clips are placed first, the largest first. Each goes where it brings the class counts closest to
    the wanted ones, by their chi-square distance. Then single clips fill the gaps. The seed decides between equals.
    scikit-learn's grouped splitters make k equal folds or do not stratify, and their import costs more than this whole
    step.

    Groups are any numbers. The shares of validation and test clips are at least 0, together under 1. Raises a UserError
    if not every wanted split can hold a clip of every class.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise UserError(f"--val {val} and --test {test} leave no clips to train on; together they must be under 1")
    shares, groups = np.array([1 - val - test, val, test]), np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((groups.max() + 1, len(class_names)), np.int32)
    np.add.at(counts, (groups, labels), 1)
    subset = _place(counts, np.outer(shares, counts.sum(axis=0)), np.random.default_rng(seed))
    _fill_empty(subset, counts, np.flatnonzero(shares))
    have = _class_counts(subset, counts)
    if (have[shares > 0] == 0).any():
        raise UserError(_cannot_split(counts, class_names, [SPLITS[s] for s in np.flatnonzero(shares)]))
    return subset[groups]


def _class_counts(subset: Ints, counts: Ints) -> Ints:
    """Return the clips of each class in each subset, shape (len(SPLITS), n_classes), from those of each group."""
    have = np.zeros((len(SPLITS), counts.shape[1]), np.int64)
    np.add.at(have, subset, counts)
    return have


def _place(counts: Ints, target: npt.NDArray[np.float64], rng: np.random.Generator) -> Subsets:
    """Return the subset of each group, by the clips of each class that it has and that each subset should have."""
    sizes = counts.sum(axis=1)
    subset = np.zeros(len(counts), np.int8)
    excess = -target
    weight = 1 / np.maximum(target, 1e-9)  # nothing goes where nothing is wanted
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    for group in order[: np.count_nonzero(sizes > 1)]:
        added = counts[group]
        change = (added * (2 * excess + added) * weight).sum(axis=1)
        subset[group] = change.argmin()
        excess[subset[group]] += added
    single = order[np.count_nonzero(sizes > 1) :]
    for label in range(counts.shape[1]):
        rest = single[counts[single, label] == 1]
        for split in (1, 2):
            n = max(0, round(-excess[split, label]))
            subset[rest[:n]] = split
            rest = rest[n:]
    return subset


def _fill_empty(subset: Subsets, counts: Ints, wanted: Ints) -> None:
    """Give a subset that lacks a class the smallest group of that class which no other subset needs."""
    for split in wanted:
        for label in range(counts.shape[1]):
            have = _class_counts(subset, counts)
            if have[split, label]:
                continue
            spare = ((have[subset] > counts) | (counts == 0)).all(axis=1) & (counts[:, label] > 0)
            if spare.any():
                donors = np.flatnonzero(spare)
                subset[donors[counts[donors].sum(axis=1).argmin()]] = split


def _cannot_split(counts: Ints, class_names: tuple[str, ...], wanted: list[str]) -> str:
    found = ", ".join(
        f"{name} {counts[:, label].sum()} in {np.count_nonzero(counts[:, label])}"
        for label, name in enumerate(class_names)
    )
    return (
        f"no split can be made in which each of {', '.join(wanted)} has clips of every class (clips in independent "
        f"groups: {found}); add recordings, or ask for fewer subsets with --val 0 or --test 0"
    )


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
        share = val * len(labels) / len(train)
        subset = split_clips(labels[train], groups[train], cache.class_names, share, 0.0, seed + repeat - 1)
        folds.append(Fold(repeat, number, train[subset == 0], train[subset == 1], test))
    return folds


def shared_by_folds(paths: list[str], groups: Rows, folds: list[Fold]) -> list[str]:
    """Say in a line how many groups are in the test parts of several folds of a repeat, and name one."""
    fold_of = np.zeros(len(paths), np.intp)
    for fold in folds:
        fold_of[fold.test] = fold.number
    if not (apart := groups_apart(groups, fold_of)):
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

    labels, why = cache.clip_labels, f"--folds {n_folds} needs as many: ask for fewer folds, add recordings"
    refuse_few_groups(cache, groups, np.arange(len(labels)), n_folds, why)
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
    found = sorted({str(name) for name in names}, key=_text_and_numbers)
    if len(found) < 2:
        raise UserError(f"--fold-by {fold_by!r} finds one fold only, {found[0]!r}, in all paths; it needs at least two")
    return [np.flatnonzero([name == fold for name in names]) for fold in found]


def _text_and_numbers(name: str) -> list[str | int]:
    """Cut a name into text and numbers in turn, text first, so that 10 comes after 9."""
    return [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", name)]

"""merge(): several caches as one, which has the bits that featurize would give it."""

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import combinations

import numpy as np

from cache.combine.make import N_SHOWN, Chosen, all_clips, make, place_of
from cache.file.header import ABOUT_LABELS, Header
from cache.file.reader import Cache, open_cache
from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.segment import recording_of
from cache.shared.text import human_list
from cache.shared.tree import CLASS_NAMES, is_background, subset_and_folder

# Fields in which caches may differ.
_OWN = ("class_names", "class_members", "fingerprint", "versions", "data_dir", "tables", "settings", "format_version")


def merge(
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    notify: Callable[[str], None] = warnings.warn,
) -> Cache:
    """Make one cache of several, to the bit as featurize makes it of the same clips; no clip is read for that.

    A clip that several caches have counts once. `data` is the folder that holds the clips of all caches; None if the
    caches have the same. Raises a UserError that names each reason why the caches do not fit together, or if `out`
    exists.
    """
    target = place_of(out)
    caches = [open_cache(file) for file in files]
    if len(caches) < 2:
        raise UserError(f"{len(caches)} cache is given; give two or more")
    folder = _data_folder(caches, None if data is None else os.fspath(as_path(data, "data")))
    members = {name: of for cache in reversed(caches) for name, of in cache.header.members.items()}
    class_names = _class_names([cache.class_names for cache in caches])
    with_tables = [cache.header for cache in caches if cache.header.tables]
    base = (with_tables or [caches[0].header])[0]
    header = replace(base, versions=_versions(caches)).of_classes({name: members[name] for name in class_names})
    chosen, others = _once(replace(all_clips(caches, class_names), header=header, data=folder))
    if reasons := [*_unlike(caches), *others, *_unlike_clips(chosen)]:
        raise UserError(f"the caches do not fit together: {'; '.join(dict.fromkeys(reasons))}")
    return make(chosen, target, notify)


def _data_folder(caches: Sequence[Cache], given: str | None) -> str:
    if given is not None:
        if not os.path.isdir(given):  # noqa: PTH112
            raise UserError(f"{given} is not a folder; give the folder that holds the clips of all caches")
        return os.path.abspath(given)  # noqa: PTH100
    for cache in caches[1:]:
        if os.path.realpath(cache.data_folder) != os.path.realpath(caches[0].data_folder):
            raise UserError(
                f"the clips of {cache.file} are in {cache.data_folder}, those of {caches[0].file} in"
                f" {caches[0].data_folder}; name with --data the folder that holds all of them, or is to hold them"
            )
    return caches[0].data_folder


def _class_names(of_each: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the classes of caches in the order of featurize.

    That is by name, where each cache has them so, with the usual three first; otherwise a class that is new comes last.
    """
    names = dict.fromkeys(name for names in of_each for name in names)
    if any([*names_of] != sorted(names_of) for names_of in of_each):
        return tuple(names)
    others = sorted(names.keys() - {*CLASS_NAMES})
    is_usual = {*CLASS_NAMES} <= names.keys() and all(map(is_background, others))
    return (*CLASS_NAMES, *others) if is_usual else tuple(sorted(names))


def _versions(caches: Sequence[Cache]) -> dict[str, str]:
    found: dict[str, set[str]] = defaultdict(set)
    for cache in caches:
        for name, version in cache.header.versions.items():
            found[name].add(version)
    return {name: " and ".join(sorted(versions)) for name, versions in found.items()}


def _unlike(caches: Sequence[Cache]) -> Iterator[str]:
    """Yield how the headers of caches differ that must be alike."""
    for one, other in combinations(caches, 2):
        for name, mine, its in _pairs(one.header, other.header):
            if mine != its:
                yield f"{name} is {mine} in {one.file} and {its} in {other.file}"
        yield from _members_of_two(one.header, other.header)


def _pairs(mine: Header, its: Header) -> Iterator[tuple[str, object, object]]:
    """Yield the names and values of what two headers must have in common."""
    for name, value in mine.settings.as_dict().items():
        yield name, value, getattr(its.settings, name)
    for name in (field.name for field in fields(Header) if field.name not in _OWN):
        if name not in ABOUT_LABELS or (mine.tables and its.tables):
            yield name, getattr(mine, name), getattr(its, name)
    for name in sorted(mine.members.keys() & its.members.keys()):
        yield f"the class {name}", "+".join(mine.members[name]), "+".join(its.members[name])


def _members_of_two(mine: Header, its: Header) -> Iterator[str]:
    class_of = {member: name for name, members in mine.members.items() for member in members}
    for name, members in its.members.items():
        for member in members:
            if class_of.get(member, name) != name:
                yield f"{member} belongs to the class {class_of[member]} in one cache and to {name} in another"


def _once(chosen: Chosen) -> tuple[Chosen, list[str]]:
    """Return each clip with its rows of one cache, the first that has it, and how those of others differ."""
    ends = np.cumsum([*map(len, chosen.caches)])
    content = chosen.columns["sha256"].tolist()
    classes = list(zip(chosen.labels.tolist(), chosen.found_in.tolist(), strict=True))
    kept = {}
    others: dict[tuple[int, int, str], list[str]] = defaultdict(list)
    for path, rows in chosen.clips.items():
        of_cache: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            of_cache[int(np.searchsorted(ends, row, "right"))].append(row)
        (first, kept[path]), *more = of_cache.items()
        for i, its_rows in more:
            for what, of in (("another content", content), ("another class", classes)):
                if [of[row] for row in its_rows] != [of[row] for row in kept[path]]:
                    others[first, i, what].append(path)
    return replace(chosen, clips=kept), [
        f"{human_list(paths, N_SHOWN)}: {what} in {chosen.caches[i].file} than in {chosen.caches[first].file}"
        for (first, i, what), paths in others.items()
    ]


def _unlike_clips(chosen: Chosen) -> Iterator[str]:
    """Yield which clips featurize would not take together."""
    recordings = {recording for path in chosen.clips if (recording := recording_of(path)) != path}
    if both := sorted(recordings & chosen.clips.keys()):
        yield f"{human_list(both, N_SHOWN)}: a clip in one cache, and a recording with labels in another"
    if unusable := [one.path for one in chosen.rejected if one.path in chosen.clips]:
        yield f"{human_list(unusable, N_SHOWN)}: used by one cache and rejected by another"
    beside: dict[str, set[bool]] = defaultdict(set)
    folders = {*chosen.header.folders}
    for path in chosen.clips:
        subset, folder = subset_and_folder(path, folders)
        if folder and recording_of(path) == path:
            beside[folder].add(subset == "")
    if mixed := sorted(folder for folder, places in beside.items() if len(places) > 1):
        yield f"{human_list(mixed, N_SHOWN)}: in train, val or test in one cache, and beside these in another"
    if chosen.header.background:
        caches_of: dict[str, set[int]] = defaultdict(set)
        for i, cache in enumerate(chosen.caches):
            for path in cache.paths:
                caches_of[recording_of(path)].add(i)
        shared = sorted(recording for recording in recordings if len(caches_of[recording]) > 1)
        if shared:
            yield f"{human_list(shared, N_SHOWN)}: background between labels of two caches; featurize them together"

"""The recording that a table means, by the name that it gives or by its own, and never one of the same name elsewhere.

Recorders name their files by date and time, so files of one name at every site are the rule. A folder that a table
gives has to be that of the recording.
"""

import os
import unicodedata
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from cache.labels.table import shown
from cache.shared.text import plain
from cache.shared.tree import AUDIO_EXTENSIONS, walk

# A longer cell is not the name of a file.
_LONGEST = 1000
# Recordings of one name that a message shows.
_N_SHOWN = 3
# A folder of such a name tells what is in it, not where its recordings were made.
_GENERIC = frozenset({"annotation", "annotations", "audacity", "csv", "label", "labels", "raven", "selections"})
_GENERIC |= {"table", "tables", "txt", "audio", "data", "flac", "rec", "recording", "recordings", "sound", "sounds"}
_GENERIC |= {"wav", "wavs"}


class Index(NamedTuple):
    """The audio files in a folder."""

    root: Path  # the folder
    files: dict[str, list[str]]  # paths relative to it, by their names without ending, in one case and Unicode form
    folders: set[str]  # names of the folders that hold them, in one case and Unicode form


# index_of(), called once for a folder.
Indexed = Callable[[Path, bool], Index]


class Place(NamedTuple):
    """A recording that was found, or why none was."""

    path: str  # the recording; "" if there is none
    # Why there is none, or how the name of the recording differs from the one in the table; "" if it does not.
    note: str = ""
    # Whether the recording lies in other folders than the table gives, which are those of another machine.
    is_guess: bool = False


class _Candidate(NamedTuple):
    """A recording of about the right name: `difference` is 0 if it is the very name, and grows with what differs."""

    root: Path
    path: str
    difference: int

    @property
    def folders(self) -> list[str]:
        return _folders(self.path)


def index_of(folder: Path, deep: bool, audio: Sequence[str] | None = None) -> Index:
    """Return the audio files of a folder, and with `deep` those below it; `audio` are their paths if they are known."""
    index = Index(folder, {}, set())
    for path in walk(folder, deep=deep)[0].audio if audio is None else audio:
        index.files.setdefault(plain(_stem(path.rpartition("/")[2])), []).append(path)
        index.folders.update(map(plain, _folders(path)))
    return index


def place_by_name(name: str, table: Path, own: Sequence[str], home: Path | None, indexed: Indexed) -> Place:
    """Return the recording that a cell names by its name, or by its path on this machine or on another.

    It is looked for beside the table first, and then in `home` and below. The table's `own` folders, see own_folders(),
    tell where a bare name belongs.
    """
    words = _words(name)
    if not words or ".." in words[-1:] or len(name) > _LONGEST:
        return Place("", f"{shown(name)} is not the name of a file")
    is_absolute = name[:1] in "/\\" or name[1:2] == ":"
    tops = [table.parent, *([home] if home else [])]
    for path in [Path(name)] if is_absolute else [top.joinpath(*words) for top in tops]:
        if path.suffix.lower() in AUDIO_EXTENSIONS and os.path.isfile(path):  # noqa: PTH113 - takes any name
            return Place(os.path.realpath(path) if ".." in words else str(path))
    candidates = _candidates(words[-1], [indexed(top, top is home) for top in tops])
    given = [word for word in words[:-1] if word != ".."]
    if not given:
        return _nearest([(one, _from_own(one.folders, own)) for one in candidates], own, "/".join([*own, name]))
    place = _nearest([(one, [one.root.absolute().name, *one.folders]) for one in candidates], given, name)
    if place.path or not is_absolute:
        return place
    return _guess(candidates, name, given, indexed(home, True).folders if home else set()) or place


def _guess(candidates: Sequence[_Candidate], name: str, given: Sequence[str], known: set[str]) -> Place | None:
    """Return the candidate that shares most of the folders of a path on another machine, if there is one such.

    Folders above the recordings have other names there. A folder that is known here, and is not that of the
    candidate, is one that lacks the recording.
    """
    shared = [_n_shared(one.folders, given) for one in candidates]
    best = [one for one, n in zip(candidates, shared, strict=True) if n == max(shared)]
    if len(best) != 1 or (max(shared) < len(given) and plain(given[-1 - max(shared)]) in known):
        return None
    return Place(str(best[0].root / best[0].path), f"{shown(name)} is taken for {best[0].path}", is_guess=True)


def place_by_table(table: Path, own: Sequence[str], home: Path | None, indexed: Indexed) -> Place:
    """Return the recording that has the name of its table, without one or several endings."""
    stem, refused = table.name, Place("")
    while "." in stem:
        stem = stem.rpartition(".")[0]
        for top in (table.parent, home) if stem else ():
            if top is not None and (found := _candidates(stem, [indexed(top, top is home)])):
                place = _nearest([(one, _from_own(one.folders, own)) for one in found], own, "/".join([*own, stem]))
                if place.path:
                    return place
                refused = place
    where = f" or in {home}" if home else ""
    none = f"there is no recording called {shown(stem)} beside the table{where}, and the table does not name one"
    return refused if refused.note else Place("", none)


def own_folders(table: Path, top: Path | None, home: Path | None, indexed: Indexed) -> list[str]:
    """Return the folders of a table that tell the place of its recordings: those below the folder that was searched.

    If the table was named itself, `top` is None, and they are those that are folders of recordings as well.
    """
    if top is not None:
        return _telling(_folders(table.relative_to(top).as_posix()))
    known = indexed(home, True).folders if home else set()
    folders = table.parent.absolute().parts
    return [*takewhile(lambda name: plain(name) in known, reversed(folders))][::-1]


def _candidates(name: str, indices: Sequence[Index]) -> list[_Candidate]:
    """Return the recordings whose names differ from one in case or ending at most, the most alike first."""
    found: dict[str, _Candidate] = {}
    for index in indices:
        for key in {plain(name), plain(_stem(name))}:
            for path in index.files.get(key, ()):
                one = _Candidate(index.root, path, _difference(name, path.rpartition("/")[2]))
                found.setdefault(os.path.realpath(index.root / path), one)
    return sorted(found.values(), key=lambda one: one.difference)


def _difference(name: str, of_file: str) -> int:
    name, of_file = unicodedata.normalize("NFC", name), unicodedata.normalize("NFC", of_file)
    if name in (of_file, _stem(of_file)):
        return 0
    return 1 if plain(name) in (plain(of_file), plain(_stem(of_file))) else 2


def _nearest(candidates: Sequence[tuple[_Candidate, list[str]]], given: Sequence[str], name: str) -> Place:
    """Return the candidate whose folders contradict none of those that are given and include most of them."""
    fitting: list[tuple[int, int, _Candidate]] = []
    for one, folders in candidates:
        n = _n_shared(folders, given)
        if n == min(len(folders), len(given)):
            fitting.append((one.difference, -n, one))
    if not fitting:
        there = f"; there is {candidates[0][0].path}" if candidates else ""
        return Place("", f"there is no recording {shown(name)}{there}")
    least = min(one[:2] for one in fitting)
    best = [one for *distance, one in fitting if tuple(distance) == least]
    if len(best) > 1:
        paths = ", ".join(one.path for one in best[:_N_SHOWN]) + (", .." if len(best) > _N_SHOWN else "")
        more = "give more of the path in a column file"
        return Place("", f"there are several recordings called {shown(name)} ({paths}); {more}")
    note = f"{shown(name)} is taken for {best[0].path}" if best[0].difference else ""
    return Place(str(best[0].root / best[0].path), note)


def _n_shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many folders two paths have in common, from the last one on."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return sum(1 for _ in takewhile(lambda pair: plain(pair[0]) == plain(pair[1]), pairs))


def _from_own(folders: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return the folders of a recording that tell its place, down to those of its table if it lies below them."""
    telling = _telling(folders)
    is_below = own and [*map(plain, telling[: len(own)])] == [*map(plain, own)]
    return telling[: len(own)] if is_below else telling


def _telling(folders: Sequence[str]) -> list[str]:
    return [name for name in folders if plain(name) not in _GENERIC]


def _folders(path: str) -> list[str]:
    return path.split("/")[:-1]


def _words(path: str) -> list[str]:
    return [word for word in path.replace("\\", "/").split("/") if word not in ("", ".")]


def _stem(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    return stem if stem and f".{ending.lower()}" in AUDIO_EXTENSIONS else name

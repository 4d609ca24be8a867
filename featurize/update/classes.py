"""Which classes a cache has: those that are asked for, those it remembers, or those that are found in DATA."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path

from cache.file.header import Classes, Header, is_folder_name
from cache.labels.annotation import Annotation
from cache.labels.read import Labels
from cache.shared.errors import UserError
from cache.shared.text import human_count, human_list, is_utf8, plain, printable
from cache.shared.tree import BACKGROUND, CLASS_NAMES, Places, is_background
from featurize.audio.find import Walked, loose_words, missing, walk_data
from featurize.update.options import ALL, Options

# Folders that a line names.
_N_SHOWN = 5


def classes_of(
    options: Options,
    old: Header | None,
    places: Places,
    walked: Walked | None,
    labels: Labels,
    has_background: bool,
    notify: Callable[[str], None],
) -> tuple[Walked, Classes]:
    """Return the classes, and what lies in DATA, which is walked as far as that needs it if it was not walked yet."""
    names = label_names(labels.annotations)
    classes = _known_classes(options, old, places, names, has_background, notify)
    if walked is None:
        walked = _walked_for_classes(options, places, classes)
    if classes is None:
        classes = _found_classes(options.classes == (ALL,), walked, names, recordings_of(labels), notify)
        if old is not None and labels.annotations:
            # A class that is new comes last, so that the others keep their indices.
            classes = {name: classes[name] for name in (*old.class_names, *classes) if name in classes}
    if has_background and BACKGROUND not in classes:
        classes = {**classes, BACKGROUND: (BACKGROUND,)}
    return walked, classes


def label_names(named: Iterable[Annotation]) -> list[str]:
    """Return the names of all labels in alphabetical order; of several ways to write one, the most frequent."""
    counts = Counter(one.label for one in named)
    ways: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        ways[plain(name)].append(name)
    return sorted(names[0] for names in ways.values())


def recordings_of(labels: Labels) -> set[str]:
    """Return the recordings that have a table, also an empty one."""
    return {*(one.file for one in labels.annotations), *labels.empty}


def _walked_for_classes(options: Options, places: Places, known: Classes | None) -> Walked:
    """Walk the folders of the classes, and where these are not known, all that can be one."""
    if known is not None:
        return walk_data(options.data, places, chain.from_iterable(known.values()))
    if options.classes or not _has_usual(places):
        return walk_data(options.data, places, places.names)
    # The other folders are only counted, so a link to one adds to the class.
    return walk_data(options.data, places, [*CLASS_NAMES, *filter(is_background, places.names)], with_rest=True)


def _known_classes(
    options: Options,
    old: Header | None,
    places: Places,
    labels: Sequence[str],
    has_background: bool,
    notify: Callable[[str], None],
) -> Classes | None:
    """Return the classes that are named, or else those of the cache; None if they are to be found in DATA."""
    if options.classes and options.classes != (ALL,):
        return _named_classes(options.classes, options.data, places, labels, notify)
    if options.classes or old is None:
        return None
    is_gone = old.background and not has_background and BACKGROUND not in (*places.names, *labels)
    return {name: members for name, members in old.members.items() if not (is_gone and name == BACKGROUND)}


def _named_classes(
    given: Sequence[str], data: Path, places: Places, labels: Sequence[str], notify: Callable[[str], None]
) -> Classes:
    """Return the classes that are asked for by name, each with the folders and labels that belong to it.

    A class is a folder or a label, whose name may be written in another case or Unicode form, or `name=first+second`,
    which makes one class of several. Raises a UserError if there is no such folder or label, or one is asked for twice.
    """

    def member(name: str) -> str:
        return _member(name.strip(), data, places, labels, notify)

    classes: list[tuple[str, tuple[str, ...]]] = []
    for text in given:
        name, is_merged, members = text.partition("=")
        if text in (*places.folders, *labels) or not is_merged:
            found = member(text)
            classes.append((found, (found,)))
        else:
            # The name of a folder may hold a plus sign.
            parts = [members] if members in places.folders else members.split("+")
            if not is_folder_name(name.strip()) or not all(map(str.strip, parts)):
                raise UserError(f"{text!r:.60} cannot be the name of a class; give NAME=FIRST+SECOND")
            classes.append((name.strip(), tuple(map(member, parts))))
    members_of_all = [name for _, members in classes for name in members]
    if len(dict(classes)) < len(classes) or len({*members_of_all}) < len(members_of_all):
        raise UserError(f"a class is named twice: {', '.join(map(printable, given))}")
    return dict(classes)


def _member(name: str, data: Path, places: Places, labels: Sequence[str], notify: Callable[[str], None]) -> str:
    """Return the folder or label that is meant by a name."""
    if name in places.names:
        return name
    same = [other for other in places.names if plain(other) == plain(name)]
    if not same and plain(name) in (BACKGROUND, *map(plain, labels)):
        return name
    if len(same) == 1 and is_utf8(same[0]):
        notify(f"{name}: taken for the folder {same[0]}, which is written in another way")
        return same[0]
    raise missing(name, data, places, bool(labels))


def _found_classes(
    everything: bool,
    walked: Walked,
    labels: Sequence[str],
    recordings: Collection[str],
    notify: Callable[[str], None],
) -> Classes:
    """Return the classes that are there, folders before labels, and say which folders with audio are not among them.

    They are `everything`, that is every folder with audio in it and every label; or where there are labels, these
    alone; or elsewhere dog, cat and bird, if there are folders of these names, with a background folder as the last.
    `recordings` are those that have labels, or an empty table. Raises a UserError if there is not a single class.
    """
    counts = _unlabelled_files(everything, walked, {*map(plain, labels)}, {*recordings}, notify)
    if everything or not (recordings or _has_usual(walked.places)):
        folders = list(counts)
    elif recordings:
        folders = []
        _tell_unused(walked.data, counts, {*map(plain, labels)}, notify)
    else:
        folders = [*CLASS_NAMES, *(name for name in counts if is_background(name) and name not in CLASS_NAMES)]
        if others := [
            f"{name}: {human_count(n, 'clip')} not used" for name, n in counts.items() if name not in folders
        ]:
            notify(f"{human_list(others, _N_SHOWN, '; ')}; --classes all takes every folder")
    if not folders and not recordings:
        names = walked.places.names
        there = f" (there are: {human_list(names)})" if names else ""
        raise UserError(
            f"{walked.data} has no folder with audio in it{loose_words(walked.data, walked.places)}; put the clips of"
            f" each class into a folder of their own there{there}"
        )
    same = {*map(plain, folders)}
    return {name: (name,) for name in (*folders, *(name for name in labels if plain(name) not in same))}


def _has_usual(places: Places) -> bool:
    """Whether there are folders called dog, cat and bird."""
    return {*CLASS_NAMES} <= {*places.names}


def _unlabelled_files(
    everything: bool, walked: Walked, labels: set[str], recordings: set[str], notify: Callable[[str], None]
) -> dict[str, int]:
    """Return how many audio files without labels each folder has that can be a class."""
    counts = {}
    for name, files in walked.audio_by_name().items():
        n = len({*files} - recordings)
        if n and not is_utf8(name):
            notify(f"the folder {printable(name)} is skipped because its name is not UTF-8; rename it")
        elif n and everything and len({*files}) > n and plain(name) not in labels:
            notify(
                f"{name} contains labelled recordings, so it is not used as a class and its"
                f" {human_count(n, 'unlabelled file')} {'is' if n == 1 else 'are'} skipped; to use it as a class, name"
                " it with --classes"
            )
        elif n:
            counts[name] = n
    return counts


def _tell_unused(data: Path, counts: dict[str, int], labels: set[str], notify: Callable[[str], None]) -> None:
    """Say what becomes of folders with audio where labels are the classes."""
    others = {name: n for name, n in counts.items() if plain(name) not in labels}
    for name in counts.keys() - others.keys():
        notify(f'files without labels in the folder {data / name} belong to the class "{name}": {counts[name]}')
    if others:
        shown = human_list([f"{n} in {name}" for name, n in others.items()], _N_SHOWN)
        n = sum(others.values())
        notify(
            f"{human_count(n, 'audio file')} without labels {'is' if n == 1 else 'are'} skipped: {shown}; to use a"
            " folder as a class, name it with --classes"
        )

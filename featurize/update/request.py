"""Asked: what a cache is to hold, from what is given now, what its cache remembers, and what is there."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from cache.file.reader import Cache, open_cache
from cache.shared.errors import CacheError, MissingCache, UserError
from cache.shared.text import human_count, plain, printable
from cache.shared.tree import SUBSETS, Tree, folder_names, is_background, is_utf8, walk
from featurize.audio.find import CLASS_NAMES, nearest
from featurize.update.labelled import BACKGROUND, Labelling, label_names, labels_in, usual_length

# Instead of names: every folder that has audio in it, and every label.
ALL = "all"
# Instead of tables: no labels, and forget those that the cache remembers.
NONE = "none"

# Folders named in a line.
_N_SHOWN = 5


class Asked(NamedTuple):
    """What a cache is to hold: classes in the order of their label index, how many clips of each, dtype, labels."""

    class_names: tuple[str, ...]
    max_per_class: int
    dtype: str
    labelling: Labelling


def asked(
    data: Path,
    cache_file: Path,
    classes: Sequence[str] = (),
    dtype: str | None = None,
    max_per_class: int | None = None,
    notify: Callable[[str], None] = lambda line: None,
    labels: Sequence[str | Path] = (),
    label_column: str | None = None,
    widen: bool | None = None,
    background: int | None = None,
) -> Asked:
    """Return what a cache is to hold, where what is not given stays as the cache remembers it.

    Parameters
    ----------
    data
        The folder that holds a folder of clips per class.
    cache_file
        The HDF5 file to make, or to bring up to date.
    classes
        Names of class folders or labels, in the order of their label index; "all" alone: every folder with audio in it
        and every label. Empty: those of the cache; without a cache dog, cat and bird where they are all there, and else
        every folder, and then every label that is none of these.
    dtype
        Element type of X; None: the cache's, or float32.
    max_per_class
        How many clips of each class; 0 for all; None: the cache's, or all.
    notify
        Takes notices for the user, a line each.
    labels
        Tables of labels and folders of them, in addition to those of the cache; "none" first: instead of them.
    label_column, widen, background
        See `featurize.update.labelled.Labelling`; None: the cache's.

    Raises
    ------
    UserError
        DATA has no such class folder, or none at all; or nothing can be made of the labels.
    """
    old = _remembered(cache_file)
    if not data.is_dir():
        raise UserError(f"{data} is not a folder; give the folder that holds a folder of clips per class")
    labelling = _labelling(old, labels, label_column, widen, background)
    # Whoever makes clips of them says what is wrong with them.
    named = labels_in(data, labelling).annotations
    labelled = label_names(named)
    if classes and list(classes) != [ALL]:
        names = tuple(_class_of(name, data, labelled, notify) for name in classes)
        if len(set(names)) < len(names):
            raise UserError(f"a class is named twice: {', '.join(map(printable, classes))}")
    elif old is not None and not classes:
        names = old.class_names
        if old.header.background and not labelling.background and BACKGROUND not in (*class_folders(data), *labelled):
            names = tuple(name for name in names if name != BACKGROUND)
    else:
        recordings = {one.file for one in named}
        names = _found(data, bool(classes), labelled, recordings, notify)
        if old is not None and labelled:
            # A label that is new comes last: then it costs its own segments alone.
            names = tuple(sorted(names, key=lambda name: (*old.class_names, *names).index(name)))
    if labelling.background and BACKGROUND not in names:
        names = (*names, BACKGROUND)
    if labelling.has_length:
        before = old.header.label_length if old is not None else 0.0
        labelling = labelling._replace(length=usual_length(named, names, before, notify))
    limit = (old.header.max_per_class if old else 0) if max_per_class is None else max_per_class
    return Asked(names, limit, dtype or (old.X.dtype.name if old else "float32"), labelling)


def _labelling(
    old: Cache | None,
    labels: Sequence[str | Path],
    label_column: str | None,
    widen: bool | None,
    background: int | None,
) -> Labelling:
    """Return which labels are asked for, where what is not given stays as the cache remembers it."""
    forget = [str(path) for path in labels[:1]] == [NONE]
    remembered = [] if old is None or forget else old.table_paths
    for path in remembered:
        if not path.exists():
            raise UserError(
                f"{path}, of which the cache has labels, is not there; put it back, or forget it with --labels none"
                " and give the others again"
            )
    given = [Path(path).absolute() for path in labels[1 if forget else 0 :]]
    tables = tuple(dict.fromkeys([*remembered, *given]))
    if not tables:
        if label_column or widen or background:
            raise UserError("--label-column, --widen and --background are about labels; give a table with --labels")
        return Labelling()
    kept = None if old is None else old.header
    before = Labelling() if kept is None else Labelling((), kept.label_column, kept.widen, kept.background)
    return Labelling(
        tables,
        before.column if label_column is None else label_column,
        before.widen if widen is None else widen,
        before.background if background is None else background,
    )


def _remembered(cache_file: Path) -> Cache | None:
    try:
        return open_cache(cache_file)
    except MissingCache:
        return None
    except CacheError:
        # Whoever brings it up to date says what is wrong with it.
        return None


def class_folders(data: Path) -> list[str]:
    """Return the names of the folders that can be a class: those in DATA, or in its folders train, val and test."""
    names = folder_names(data)
    sides = [name for name in names if name.lower() in SUBSETS]
    within = sorted({name for side in sides for name in folder_names(data / side)})
    return within or sorted({*names} - {*sides})


def _class_of(name: str, data: Path, labelled: Sequence[str], notify: Callable[[str], None]) -> str:
    """Return the folder or label that is meant by a name, which may be written in another case or Unicode form."""
    names = class_folders(data)
    if name in names:
        return name
    same = [other for other in names if plain(other) == plain(name)]
    if not same and plain(name) in (BACKGROUND, *map(plain, labelled)):
        return name
    if len(same) == 1 and is_utf8(same[0]):
        notify(f"{name}: taken for the folder {same[0]}, which is written in another way")
        return same[0]
    near = nearest(name, names)
    there = ", ".join(near[:12]) + (f" and {len(near) - 12} more" if len(near) > 12 else "")
    raise UserError(
        f"{data / name} is missing; "
        + (f"{data} has the folders {there}" if near else f"there is no folder in {data}")
        + "; name your classes with --classes"
    )


def _found(
    data: Path, everything: bool, labelled: Sequence[str], recordings: Collection[str], notify: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the classes that are there, folders before labels, and say which folders with audio are not among them."""
    folders = _folders(data, everything, labelled, recordings, notify)
    return (*folders, *(name for name in labelled if plain(name) not in map(plain, folders)))


def _folders(
    data: Path, everything: bool, labelled: Sequence[str], recordings: Collection[str], notify: Callable[[str], None]
) -> tuple[str, ...]:
    names = class_folders(data)
    usual = not everything and set(CLASS_NAMES) <= set(names)
    # The usual folders are classes whatever is in them, and will be walked then.
    looked_at = [name for name in names if not (usual and name in CLASS_NAMES)]
    trees = dict(zip(looked_at, _trees(data, looked_at), strict=True))
    known = {plain(name) for name in (*CLASS_NAMES, *labelled)}
    for name in names:
        # Where recordings are kept is no class, unless it is called so.
        if plain(name) not in known and any(path in recordings for path in trees[name].audio):
            n_others = len(set(trees[name].audio).difference(recordings))
            if n_others:
                notify(
                    f"{printable(name)} holds recordings that have labels, so it is no class:"
                    f" {human_count(n_others, 'file')} without labels not used; name it with --classes if it is one"
                )
            trees[name].audio.clear()
    counts = {name: len(set(tree.audio).difference(recordings)) for name, tree in trees.items()}
    with_audio = [name for name in looked_at if counts[name]]
    for name in with_audio:
        if not is_utf8(name):
            notify(f"the folder {printable(name)} is left out: its name is not UTF-8; rename it")
    with_audio = [name for name in with_audio if is_utf8(name)]
    if not usual:
        unnamed = [name for name in with_audio if labelled and plain(name) not in map(plain, labelled)]
        for name in unnamed if not everything else []:
            notify(
                f"{name}: a class of {human_count(counts[name], 'file')}, because that is a folder in which nothing has"
                " labels; name your classes with --classes if it is none"
            )
        if not with_audio and not labelled:
            raise UserError(
                f"{data} has no folder with audio in it; put the clips of each class into a folder of their own there"
                + (f" (there are: {', '.join(map(printable, names[:12]))})" if names else "")
            )
        return tuple(with_audio)
    background = [name for name in with_audio if is_background(name) and name not in CLASS_NAMES]
    others = [name for name in with_audio if name not in CLASS_NAMES and name not in background]
    if others:
        listed = "; ".join(f"{name}: {human_count(counts[name], 'clip')} not used" for name in others[:_N_SHOWN])
        more = f"; and {len(others) - _N_SHOWN} more folders" if len(others) > _N_SHOWN else ""
        notify(f"{listed}{more}; --classes all takes every folder")
    return (*CLASS_NAMES, *background)


def _trees(data: Path, names: Sequence[str]) -> list[Tree]:
    """Return what lies in the folders of each name, of which there is one a side where there are sides."""
    sides = ["", *(f"{name}/" for name in folder_names(data) if name.lower() in SUBSETS)]
    folders = [(name, f"{side}{name}") for name in names for side in sides if (data / f"{side}{name}").is_dir()]
    trees = {name: Tree() for name in names}
    for (name, _), tree in zip(folders, walk(data, [folder for _, folder in folders]), strict=True):
        trees[name].audio.extend(tree.audio)
    return list(trees.values())

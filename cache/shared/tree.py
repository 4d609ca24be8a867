"""Class folders: where they lie, which files below them are clips, what else is there, and what their names mean."""

import math
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cache.shared.errors import UserError
from cache.shared.segment import segment_of
from cache.shared.text import as_utf8, is_utf8

# The extensions of what libsndfile or FFmpeg's libraries read without being told the sample rate.
AUDIO_EXTENSIONS = frozenset(
    {".wav", ".wave", ".wavex", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"}
    | {".aifc", ".au", ".snd", ".caf", ".svx", ".8svx", ".iff", ".voc", ".avr", ".paf", ".fap", ".pvf", ".sds", ".sf"}
    | {".ircam", ".nist", ".sph", ".wve", ".xi", ".htk"}
    | {".mp1", ".mp2", ".mpa", ".mpga", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".adts", ".amr"}
    | {".awb", ".webm", ".weba", ".mka", ".mkv", ".wma", ".wmv", ".asf", ".ogx", ".ogv", ".spx", ".ac3", ".eac3"}
    | {".dts", ".ape", ".wv", ".tta", ".tak", ".mpc", ".avi", ".flv", ".ts", ".mts", ".mpg", ".mpeg", ".loas"}
)

# The classes of the project that this began as; a cache has them in this order.
CLASS_NAMES = ("dog", "cat", "bird")

# The class of segments without a label, and all names of classes that mean "none of them".
BACKGROUND = "background"
_BACKGROUND_NAMES = frozenset({BACKGROUND, "noise", "other", "silence"})

# Folders that hold a subset of a split that was made before, and the subset.
SUBSETS = {"train": "train", "test": "test", **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val")}


@dataclass
class Tree:
    """The content of a folder and of all below it; hidden files and folders are skipped."""

    # Paths of the files with an audio extension, relative to the folder that the walk was given, with "/"; sorted.
    audio: list[str] = field(default_factory=list)
    # How many other files there are, by extension in small letters; "" for a name without one.
    others: Counter[str] = field(default_factory=Counter)
    # (path, reason) of every folder that cannot be read.
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    hollow: list[str] = field(default_factory=list)  # folders with an audio extension that hold no audio
    dangling: list[str] = field(default_factory=list)  # links that lead nowhere, and may have led to folders

    def add(self, other: "Tree") -> None:
        """Add the content of another folder."""
        self.audio += other.audio
        self.others += other.others
        self.unreadable += other.unreadable
        self.hollow += other.hollow
        self.dangling += other.dangling


class Stamp(NamedTuple):
    """Size, time and number of a file, by which it is recognised without reading it."""

    size: int
    mtime_ns: int
    inode: int


def walk(
    top: str | os.PathLike[str],
    folders: Sequence[str] = ("",),
    deep: bool = True,
    with_rest: bool = False,
    most: float = math.inf,
    endings: Collection[str] = AUDIO_EXTENSIONS,
) -> list[Tree]:
    """Walk folders of `top`, and everything else in it at the end if `with_rest`; return the content of each.

    The folders are relative to `top`, and "" is `top` itself; folders within them are looked into if `deep`. Links to
    folders are followed after all others, and each real folder is looked into once: a link back to where the walk has
    been, or to another of the folders, adds nothing. Files with other `endings` may take the place of audio. Raises a
    UserError if there are more folders than `most`.
    """
    walk = _Walk(os.fspath(top), folders, deep, most, endings)
    return walk.trees(folders) + (walk.trees([""]) if with_rest else [])


class _Walk:
    """A walk, which enters each real folder once."""

    def __init__(self, root: str, folders: Sequence[str], deep: bool, most: float, endings: Collection[str]) -> None:
        self._root, self._deep, self._most, self._endings = root, deep, most, endings
        self._seen = {_identity(root), *(_identity(f"{root}/{folder}") for folder in folders)}
        self._links: list[tuple[Tree, str]] = []  # to folders, to be followed at the end

    def trees(self, folders: Sequence[str]) -> list[Tree]:
        """Return the content of each of these folders."""
        trees = [Tree() for _ in folders]
        for tree, folder in zip(trees, folders, strict=True):
            self._enter(folder, tree)
        # A linked folder may hold further links.
        while self._links:
            todo, self._links = sorted(self._links, key=lambda link: link[1]), []
            for tree, path in todo:
                if self._is_new(path):
                    self._enter(path, tree)
        for tree in trees:
            tree.audio.sort()
            tree.hollow = sorted(f for f in tree.hollow if not any(path.startswith(f"{f}/") for path in tree.audio))
        return trees

    def _is_new(self, folder: str) -> bool:
        n = len(self._seen)
        self._seen.add(_identity(f"{self._root}/{folder}"))
        return len(self._seen) > n

    def _enter(self, top: str, tree: Tree) -> None:
        """Note the files in a folder and below it."""
        todo = [top]
        while todo:
            if len(self._seen) > self._most:
                raise UserError(f"there are more than {self._most:,} folders in {self._root}")
            folder = todo.pop()
            try:
                visible = _visible(f"{self._root}/{folder}")
            except OSError as error:
                tree.unreadable.append((folder, f"the folder cannot be read ({error.strerror})"))
                continue
            prefix = f"{folder}/" if folder else ""
            for entry in visible:
                path, extension = prefix + entry.name, _extension(entry.name)
                if not _is_folder(entry):
                    if extension in self._endings:
                        tree.audio.append(path)
                    elif _is_dangling(entry):
                        tree.dangling.append(path)
                    else:
                        tree.others[extension] += 1
                    continue
                if extension in AUDIO_EXTENSIONS:
                    tree.hollow.append(path)
                if self._deep and entry.is_symlink():
                    self._links.append((tree, path))
                elif self._deep and self._is_new(path):
                    todo.append(path)


def _visible(folder: str) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _extension(name: str) -> str:
    # pathlib would take longer than all the rest of a run with nothing to do.
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_dangling(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a link that leads nowhere, and not to a file by its name: a disk of clips may not be mounted."""
    return entry.is_symlink() and not _extension(entry.name) and not os.path.exists(entry.path)  # noqa: PTH110


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


# How messages call a link without a target.
DANGLING = "a link that leads nowhere"
# By the first letter of their modes, as `ls` shows them.
_KINDS = {"p": "a pipe", "s": "a socket"}


class Looked(NamedTuple):
    """The kinds of the files of a walk."""

    clips: dict[str, Stamp]  # the stamp of each clip, by path
    # The reason why a path cannot be used, by path: a dangling link, a folder that cannot be read, or a name that is
    # not UTF-8.
    rejected: dict[str, str]
    ignored: dict[str, str]  # the kind of a path that is not a file, such as "a pipe"


def look_at(top: str | os.PathLike[str], tree: Tree, limit: int | None = None, without: Collection[str] = ()) -> Looked:
    """Look at the audio files of a walk, but for some, without opening one; with a limit until there are so many."""
    root = os.fspath(top)
    ignored = dict.fromkeys(tree.hollow, "a folder") | dict.fromkeys(map(as_utf8, tree.dangling), DANGLING)
    looked = Looked({}, {as_utf8(path): reason for path, reason in tree.unreadable}, ignored)
    for path in (path for path in tree.audio if path not in without):
        if limit is not None and len(looked.clips) >= limit:
            break
        if not is_utf8(path):
            looked.rejected[as_utf8(path)] = "its name is not UTF-8; rename it"
            continue
        try:
            status = os.stat(f"{root}/{path}")  # noqa: PTH116
        except OSError as error:
            is_link = os.path.islink(f"{root}/{path}")  # noqa: PTH114
            what = DANGLING if is_link else "it cannot be looked at"
            looked.rejected[path] = f"{what} ({error.strerror})"
            continue
        if stat.S_ISREG(status.st_mode):
            looked.clips[path] = Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
        else:
            looked.ignored[path] = _KINDS.get(stat.filemode(status.st_mode)[0], "a device")
    return looked


class Places(NamedTuple):
    """The class folders of DATA."""

    # The names of the folders that can be a class: those in train, val and test, or else those in DATA.
    names: list[str]
    # The folders of each name, relative to DATA, by the subset in which each lies; "" for a folder in DATA itself.
    folders: dict[str, dict[str, str]]
    # Audio files in DATA, and in train, val and test, that are beside the class folders, relative to DATA.
    loose: list[str]
    # Links there that lead nowhere, and may have led to class folders.
    dangling: list[str]

    def folders_of(self, members: Iterable[str]) -> list[str]:
        """Return the folders of these names, relative to DATA."""
        return [folder for name in members for folder in self.folders.get(name, {}).values()]

    def of_class(self, members: Iterable[str], trees: Mapping[str, Tree]) -> list[Tree]:
        """Return the content of the folders of a class, given by path in `trees`, joined for each subset."""
        found: dict[str, Tree] = defaultdict(Tree)
        for name in members:
            for subset, folder in self.folders.get(name, {}).items():
                if folder in trees:
                    found[subset].add(trees[folder])
        return [found[subset] for subset in sorted(found)]


def class_places(data: str | os.PathLike[str]) -> Places:
    """Return where the class folders of DATA lie: in DATA itself, or else in its folders train, val and test."""
    names, loose, dangling = _entries(data, "")
    own = {name: {"": name} for name in names if name.lower() not in SUBSETS}
    split: dict[str, dict[str, str]] = {}
    for subset in names:
        if subset.lower() in SUBSETS:
            below, files, links = _entries(data, f"{subset}/")
            loose, dangling = loose + files, dangling + links
            for name in below:
                split.setdefault(name, {})[subset] = f"{subset}/{name}"
    return Places(sorted(split) or list(own), split | own, loose, dangling)


def _entries(top: str | os.PathLike[str], folder: str) -> tuple[list[str], list[str], list[str]]:
    """Return names of the folders in a folder, paths of its audio files, and of links that lead nowhere, all sorted."""
    entries = sorted(_visible(f"{os.fspath(top)}/{folder}"), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if _is_folder(entry)]
    files = [entry for entry in entries if not _is_folder(entry)]
    audio = [f"{folder}{entry.name}" for entry in files if _extension(entry.name) in AUDIO_EXTENSIONS]
    return folders, audio, [f"{folder}{entry.name}" for entry in files if _is_dangling(entry)]


def subset_and_folder(path: str, folders: Collection[str]) -> tuple[str, str]:
    """Return the subset and the class folder in which a file lies; "" for each in which it does not."""
    first, *rest = path.split("/", 2)
    if first in folders:
        return "", first
    return (first, rest[0]) if rest and rest[0] in folders else ("", "")


def subsets_of(paths: Iterable[str], folders: Sequence[str]) -> list[str | None]:
    """Return the subset of a split in which each clip lies: "train", "val" or "test"; None if it is in none.

    A segment lies where its recording does. A folder called eval is "val", unless another folder is that: then it is
    "test", as in sets that come as train, dev and eval. A path that begins with one of the class `folders` is in no
    subset.
    """
    names = {*folders}
    firsts = []
    for path in paths:
        subset, folder = subset_and_folder(path, names)
        if not folder and "/" in path and segment_of(path):
            subset = path.partition("/")[0]
        firsts.append(subset.lower())
    has_val = "val" in {SUBSETS.get(first) for first in {*firsts} - {"eval"}}
    subsets = SUBSETS | ({"eval": "test"} if has_val else {})
    return [subsets.get(first) for first in firsts]


def is_background(class_name: str) -> bool:
    """Whether a class means "none of the others": its folder is called background, noise, other or silence."""
    return class_name.lower() in _BACKGROUND_NAMES

"""find_clips(): the clips in the class folders, in a stable order."""

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from cache.file.columns import Rejected
from cache.shared.errors import UserError
from cache.shared.segment import Segment
from cache.shared.text import files_by_kind, human_count
from cache.shared.tree import Looked, Tree, folder_names, look_at, places, walk

CLASS_NAMES = ("dog", "cat", "bird")

# Folders named in an error.
_N_SHOWN = 12


class Clip(NamedTuple):
    """An audio file as it was found, or a segment of one.

    Attributes
    ----------
    path
        Relative to DATA, with "/".
    label
        Its class index.
    size, mtime_ns, inode
        By what the file is known again.
    segment
        The part of the recording that is the clip; None if the whole file is.
    where
        The line of a table that names the segment, such as "night.txt:12"; "" if none does.
    """

    path: str
    label: int
    size: int
    mtime_ns: int
    inode: int = 0
    segment: Segment | None = None
    where: str = ""

    @property
    def file(self) -> str:
        """Path of the file that it is in."""
        return self.path if self.segment is None else self.segment.recording

    @property
    def span(self) -> tuple[float, float]:
        """Start and end of the segment in seconds; both 0 if the whole file is the clip."""
        return (0.0, 0.0) if self.segment is None else (self.segment.start, self.segment.end)


class Found(NamedTuple):
    """What a walk found.

    Attributes
    ----------
    clips
        In order.
    rejected
        What cannot even be looked at, folders that cannot be read among them.
    ignored
        (path, what) of what is no file.
    others
        How many files of other kinds there are, by extension.
    folders
        The folders that were walked, relative to DATA.
    """

    clips: list[Clip]
    rejected: list[Rejected]
    ignored: list[tuple[str, str]]
    others: Counter[str]
    folders: list[str]


def find_clips(
    data: Path,
    class_names: Sequence[str] = CLASS_NAMES,
    max_per_class: int | None = None,
    segments: Sequence[Clip] = (),
) -> Found:
    """Walk the class folders, in the order of `class_names` and within each by path.

    A clip is a regular file, or a link to one, in a class folder or in a folder below it, with an audio extension in
    any case; hidden files are not. The class folders lie in DATA, or in its folders train, val and test. Nothing is
    opened.

    Parameters
    ----------
    data
        The folder that holds a folder per class.
    class_names
        The position is the label index.
    max_per_class
        Take only the first so many of each class; where there are train, val and test, of each class in each of them.
    segments
        Segments of recordings, which come behind all files. A class that has some needs no folder, and a recording
        is no clip as a whole, wherever it lies.

    Raises
    ------
    UserError
        A class folder is missing or has no clip.
    """
    if not data.is_dir():
        raise UserError(f"{data} is not a folder; give the folder that holds {', '.join(class_names)}")
    labelled = {clip.label for clip in segments}
    recordings = {clip.file for clip in segments}
    folders = [
        (label, folder)
        for label, name in enumerate(class_names)
        for folder in (places(data, name) if label in labelled else _places(data, name, bool(segments)))
    ]
    found = Found([], [], [], Counter(), [folder for _, folder in folders])
    trees = walk(data, found.folders)
    for tree in trees:
        tree.audio = [path for path in tree.audio if path not in recordings]
    looks = [look_at(data, tree, max_per_class) for tree in trees]
    for (label, _), tree, looked in zip(folders, trees, looks, strict=True):
        found.clips.extend(Clip(path, label, *stamp) for path, stamp in looked.clips.items())
        found.rejected.extend(Rejected(path, -1, -1, reason) for path, reason in looked.rejected.items())
        found.ignored.extend(looked.ignored.items())
        found.others.update(tree.others)
    n_of = Counter(clip.label for clip in found.clips)
    for clip in segments:
        if max_per_class is None or n_of[clip.label] < max_per_class:
            n_of[clip.label] += 1
            found.clips.append(clip)
    if segments:
        found.folders.append("")
    labels = {clip.label for clip in found.clips}
    for label in range(len(class_names)):
        if label not in labels:
            of_class = [i for i, (owner, _) in enumerate(folders) if owner == label]
            raise _empty(data / found.folders[of_class[0]], [(trees[i], looks[i]) for i in of_class])
    return found


def _places(data: Path, class_name: str, has_labels: bool) -> list[str]:
    if folders := places(data, class_name):
        return folders
    near = nearest(class_name, folder_names(data))
    raise UserError(
        f"{data / class_name} is missing{', and no label is called so' if has_labels else ''}; "
        + (f"{data} has the folders {', '.join(near[:_N_SHOWN])}" if near else f"there is no folder in {data}")
        + (f" and {len(near) - _N_SHOWN} more" if len(near) > _N_SHOWN else "")
        + "; name your classes with --classes"
    )


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return the names, those first that are spelt most like `name`."""
    return sorted(names, key=lambda other: -SequenceMatcher(None, other.casefold(), name.casefold()).ratio())


def _empty(folder: Path, parts: Sequence[tuple[Tree, Looked]]) -> UserError:
    """Return the error that says what a folder without a clip holds instead."""
    rejected = {path: reason for _, looked in parts for path, reason in looked.rejected.items()}
    others = sum((tree.others for tree, _ in parts), Counter[str]())
    holds = [files_by_kind(others)] if others else []
    if rejected:
        path, reason = next(iter(rejected.items()))
        holds.append(f"{human_count(len(rejected), 'path')} that cannot be used ({path}: {reason})")
    return UserError(
        f"{folder} has no clip in it"
        + (f", but {' and '.join(holds)}" if holds else "")
        + "; put audio files (.wav, .flac, .ogg, .mp3, ..) there, or name your classes with --classes"
    )

"""The clips in DATA: one walk over its folders, and the files and segments that belong to each class, in order."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from cache.file.columns import Rejected
from cache.file.header import Classes
from cache.shared.errors import UserError
from cache.shared.segment import Segment, in_turn
from cache.shared.text import as_utf8, files_by_kind, human_count, human_list, printable
from cache.shared.tree import DANGLING, Places, Tree, look_at, walk

# Folders that an error names.
_N_SHOWN = 12


class Clip(NamedTuple):
    """An audio file as it was found, or a segment of one."""

    path: str  # the path under which a cache knows it, relative to DATA, with "/"
    label: int  # the index of its class
    # By these the file is recognised.
    size: int
    mtime_ns: int
    inode: int = 0
    segment: Segment | None = None  # the segment; None for a file that is a clip as a whole
    where: str = ""  # the line of a table that names the segment, such as "night.txt:12"; "" if none does
    # 1 + the index of the class of its folder or table if a correction gives it another class, else 0.
    corrected: int = 0

    @property
    def file(self) -> str:
        """Path of the file that it is in."""
        return self.segment.recording if self.segment else self.path

    def rejected(self, reason: str, is_passing: bool = False) -> Rejected:
        """Return the entry of a clip that cannot be used; one for a passing reason is tried again."""
        size, mtime_ns = (-1, -1) if is_passing else (self.size, self.mtime_ns)
        return Rejected(self.path, size, mtime_ns, reason, self.inode)

    @property
    def span(self) -> tuple[float, float]:
        """Start and end of the segment in seconds; both 0 of a file that is a clip as a whole."""
        return (self.segment.start, self.segment.end) if self.segment else (0.0, 0.0)


class Walked(NamedTuple):
    """The files in DATA, by one walk."""

    data: Path
    places: Places  # the class folders
    # The content of the class folders that were walked, and with the path "" of all else, where that was walked, too.
    trees: dict[str, Tree]

    @property
    def audio(self) -> list[str]:
        """The paths of all audio files that were found, relative to DATA."""
        return [path for tree in self.trees.values() for path in tree.audio]

    def audio_by_name(self) -> dict[str, list[str]]:
        """Return the paths of the audio files in the folders of each name that was found."""
        name_of = {folder: name for name in self.places.names for folder in self.places.folders[name].values()}
        found: dict[str, list[str]] = {name: [] for name in self.places.names}
        for path in self.audio:
            words = path.split("/", 2)
            name = name_of.get(words[0]) or name_of.get("/".join(words[:2]))
            if name is not None and len(words) > 1:
                found[name].append(path)
        return found


class Found(NamedTuple):
    """The clips in DATA, and everything else that was found there."""

    clips: list[Clip]  # in order
    rejected: list[Rejected]  # paths that cannot even be looked at, folders that cannot be read among them
    ignored: list[tuple[str, str]]  # (path, what it is) of everything that is not a file
    others: Counter[str]  # how many files of other kinds there are, by extension
    loose: list[str]  # audio files that belong to no class because they lie beside the class folders
    folders: list[str]  # the folders in which the clips lie, relative to DATA


def walk_data(data: Path, places: Places, members: Iterable[str], with_rest: bool = False) -> Walked:
    """Walk the class folders of these names, and everything else in DATA, too, if `with_rest`; nothing is opened."""
    folders = places.folders_of(dict.fromkeys(members))
    trees = walk(data, folders, with_rest=with_rest)
    return Walked(data, places, dict(zip([*folders, ""], trees, strict=False)))


def find_clips(
    walked: Walked,
    classes: Classes,
    max_per_class: int = 0,
    segments: Sequence[Clip] = (),
    recordings: Collection[str] = (),
) -> Found:
    """Return the clips of each class: files in the order of the classes and by path, and behind them segments.

    A file is a clip if it is regular, or a link to one that is, and lies in a class folder or below it with an audio
    extension in any case. Hidden files are not clips, and neither are `recordings`, wherever they lie.

    With `max_per_class` only so many clips of each class are taken: the first files, of each of train, val and test
    where these are there, and then segments of all recordings in turn.
    """
    found = Found([], [], [], Counter(), [path for path in walked.places.loose if path not in recordings], [])
    n_files = [0] * len(classes)
    for label, members in enumerate(classes.values()):
        for tree in walked.places.of_class(members, walked.trees):
            looked = look_at(walked.data, tree, max_per_class or None, recordings)
            found.clips.extend(Clip(path, label, *stamp) for path, stamp in looked.clips.items())
            found.rejected.extend(Rejected(path, -1, -1, reason) for path, reason in looked.rejected.items())
            found.ignored.extend(looked.ignored.items())
            found.others.update(tree.others)
            n_files[label] += len(looked.clips)
        found.folders.extend(walked.places.folders_of(members))
    found.ignored.extend((as_utf8(path), DANGLING) for path in walked.places.dangling)
    if segments:
        found.folders.append("")
        if max_per_class:
            taken = in_turn([(clip.label, clip.file) for clip in segments], max_per_class, n_files)
            segments = [segments[i] for i in taken]
        found.clips.extend(segments)
    return found


def nothing_found(members: Sequence[str], walked: Walked, found: Found, has_labels: bool) -> UserError:
    """Return the error that says what there is instead of the clips of a class."""
    folders = walked.places.folders_of(members)
    if not folders:
        return missing(members[0], walked.data, walked.places, has_labels)
    others = sum((tree.others for folder, tree in walked.trees.items() if folder in folders), Counter[str]())
    holds = [files_by_kind(others)] if others else []
    bad = [clip for clip in found.rejected if any(f"{clip.path}/".startswith(f"{folder}/") for folder in folders)]
    if bad:
        holds.append(f"{human_count(len(bad), 'path')} that cannot be used ({bad[0].path}: {bad[0].reason})")
    return UserError(
        f"{walked.data / folders[0]} has no clip in it"
        + (f", but {' and '.join(holds)}" if holds else "")
        + "; put audio files (.wav, .flac, .ogg, .mp3, ..) there, or name your classes with --classes"
    )


def missing(name: str, data: Path, places: Places, has_labels: bool) -> UserError:
    """Return the error that there is no folder and no label of a name, with the folders that are spelt alike."""
    near = sorted(places.names, key=lambda other: -SequenceMatcher(None, other.casefold(), name.casefold()).ratio())
    is_link = (data / name).is_symlink()
    there = (
        f"{data / name} is {DANGLING}"
        if is_link
        else f"there is no folder {data / name}" + (f' and no label "{printable(name)}"' if has_labels else "")
    )
    folders = f"{data} has the folders {human_list(near, _N_SHOWN)}" if near else f"{data} has no folders"
    return UserError(f"{there}; {folders}{loose_words(data, places)}; name your classes with --classes")


def loose_words(data: Path, places: Places) -> str:
    """Return what to say of audio files beside the class folders where clips are missing; "" if there are none."""
    if not places.loose:
        return ""
    files = f"{human_count(len(places.loose), 'audio file')} in {data} itself"
    return f"; {files} belong{'s' if len(places.loose) == 1 else ''} to no class{backslash_words(places.loose)}"


def backslash_words(paths: Sequence[str]) -> str:
    """Return what to say of names that should be paths; "" if there are none."""
    if not any("\\" in path for path in paths):
        return ""
    return (
        " (names with a backslash come from a ZIP file made by Windows: unpack it again with a program that makes"
        " folders of them, such as unzip)"
    )

"""find_clips(): the files that are clips, by a walk over the class folders in a stable order."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cache.file.partial import Rejected
from cache.shared.errors import UserError
from cache.shared.text import printable
from cache.shared.walk import audio_names, is_utf8

CLASS_NAMES = ("dog", "cat", "bird")


class Clip(NamedTuple):
    """An audio file as it was found; `path` is relative to DATA, with "/", and `label` its class index."""

    path: str
    label: int
    size: int
    mtime_ns: int


class Found(NamedTuple):
    """What a walk found: the clips in order, those that cannot even be looked at, and (path, what) of no clips."""

    clips: list[Clip]
    rejected: list[Rejected]
    ignored: list[tuple[str, str]]


def find_clips(data: Path, class_names: Sequence[str] = CLASS_NAMES, max_per_class: int | None = None) -> Found:
    """Walk the class folders, in the order of `class_names` and within each by file name.

    A clip is a regular file, or a link to one, directly in a class folder, with an audio extension in any case;
    hidden files are not. Nothing is opened.

    Parameters
    ----------
    data
        The folder that holds a folder per class.
    class_names
        The position is the label index.
    max_per_class
        Take only the first so many of each class.

    Raises
    ------
    UserError
        A class folder is missing or has no clip.
    """
    found = Found([], [], [])
    if not data.is_dir():
        raise UserError(f"{data} is not a folder; give the folder that holds {', '.join(class_names)}")
    for label, class_name in enumerate(class_names):
        n_before = len(found.clips)
        _walk(data, class_name, label, max_per_class, found)
        if len(found.clips) == n_before:
            raise UserError(
                f"{data / class_name} has no clip in it; put audio files (.wav, .flac, .ogg, .mp3, ..) there,"
                " or name your classes with --classes"
            )
    return found


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files directly in a folder, hidden ones apart, sorted by name."""
    return sorted(folder / name for name in audio_names(folder))


def _walk(data: Path, class_name: str, label: int, max_per_class: int | None, found: Found) -> None:
    folder = data / class_name
    try:
        names = audio_names(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is missing; every class needs a folder of clips in {data}, or name your classes with --classes"
        ) from None
    prefix = str(folder) + "/"
    n_taken = 0
    for name in names:
        if max_per_class is not None and n_taken >= max_per_class:
            break
        path = f"{class_name}/{name}"
        if not is_utf8(path):
            found.rejected.append(Rejected(printable(path), -1, -1, "its name is not UTF-8; rename it"))
            continue
        try:
            status = os.stat(prefix + name)  # noqa: PTH116
        except OSError as error:
            found.rejected.append(Rejected(path, -1, -1, _unreachable(prefix + name, error)))
            continue
        if stat.S_ISREG(status.st_mode):
            found.clips.append(Clip(path, label, status.st_size, status.st_mtime_ns))
            n_taken += 1
        else:
            found.ignored.append((path, _kind(status.st_mode)))


def _unreachable(path: str, error: OSError) -> str:
    what = "a link that leads nowhere" if os.path.islink(path) else "it cannot be looked at"  # noqa: PTH114
    return f"{what} ({error.strerror})"


def _kind(mode: int) -> str:
    for test, what in ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return what
    return "a device"

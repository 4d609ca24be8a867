"""find_sources(): the recordings that a command line names, in a stable order."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

STDIN = "-"


class Source(NamedTuple):
    """A recording to classify.

    Attributes
    ----------
    path
        As it was given or found; "-" for standard input.
    name
        Its path from the folder that was given, with "/"; of a file that was given itself, its name.
    reason
        Why it cannot be used, if that is known already.
    is_stdin
        Whether it is standard input, and no file of that name.
    """

    path: Path
    name: str
    reason: str = ""
    is_stdin: bool = False


def find_sources(paths: Iterable[str | Path], recursive: bool = False) -> list[Source]:
    """Return the recordings that some paths stand for, each once.

    Parameters
    ----------
    paths
        Audio files; folders, which stand for the audio files in them; "-" for standard input.
    recursive
        Whether folders within the folders count. Hidden ones do not, and links to folders are not followed.
    """
    return list(dict.fromkeys(source for path in paths for source in _of(path, recursive)))


def _of(given: str | Path, recursive: bool) -> Iterator[Source]:
    path = Path(given)
    if given == STDIN:
        yield Source(path, "stdin", is_stdin=True)
    elif not path.is_dir():
        yield Source(path, path.name)
    else:
        found = list(_in_folder(path, path, recursive))
        where = "in it" if recursive else "directly in it; --recursive looks into folders, too"
        yield from found or [Source(path, path.name, f"the folder has no audio file {where}")]


def _in_folder(folder: Path, top: Path, recursive: bool) -> Iterator[Source]:
    from featurize.clips.find import audio_files

    try:
        files = audio_files(folder)
        with os.scandir(folder) as entries:
            inner = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))
    except OSError as error:
        yield Source(folder, folder.name, f"the folder cannot be read ({error.strerror})")
        return
    # A folder called rain.wav is none of them.
    yield from (Source(file, file.relative_to(top).as_posix()) for file in files if file.name not in inner)
    if recursive:
        for name in inner:
            yield from _in_folder(folder / name, top, recursive)

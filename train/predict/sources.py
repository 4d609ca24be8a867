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


def find_sources(paths: Iterable[str | Path]) -> list[Source]:
    """Return the recordings that some paths stand for, each once.

    Parameters
    ----------
    paths
        Audio files; folders, which stand for the audio files in them at any depth; "-" for standard input. Hidden
        folders are left out, and links to folders are followed, each real folder once.
    """
    return list(dict.fromkeys(source for path in paths for source in _sources_of(path)))


def _sources_of(given: str | Path) -> Iterator[Source]:
    path = Path(given)
    if given == STDIN:
        yield Source(path, "stdin", is_stdin=True)
    elif not path.is_dir():
        yield Source(path, path.name)
    else:
        found = list(_in_folder(path, path, set()))
        yield from found or [Source(path, path.name, "the folder has no audio file in it")]


def _in_folder(folder: Path, top: Path, walked: set[tuple[int, int]]) -> Iterator[Source]:
    from featurize.clips.find import audio_files

    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in walked:
            return
        walked.add((status.st_dev, status.st_ino))
        files = audio_files(folder)
        with os.scandir(folder) as entries:
            # Links last: a folder has the name that it has, and not that of a link to it.
            inner = sorted((e.is_symlink(), e.name) for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        yield Source(folder, folder.name, f"the folder cannot be read ({error.strerror})")
        return
    # A folder called rain.wav is none of them.
    folders = {name for _, name in inner}
    yield from (Source(file, file.relative_to(top).as_posix()) for file in files if file.name not in folders)
    for _, name in inner:
        yield from _in_folder(folder / name, top, walked)

"""find_sources(): the recordings that a command line names, in a stable order."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cache.shared.tree import walk

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
        tree = walk(path)[0]
        for folder, reason in tree.unreadable:
            yield Source(path / folder, (path / folder).name, reason)
        if not tree.audio and not tree.unreadable:
            yield Source(path, path.name, "the folder has no audio file in it")
        yield from (Source(path / name, name) for name in tree.audio)

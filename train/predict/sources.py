"""find_sources(): the recordings that a command line or a notebook names, in a stable order."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.errors import UserError
from cache.shared.tree import walk

STDIN = "-"

# A file, a folder, or samples in memory with their sample rate in Hz.
Clip = str | Path | tuple[Any, int]


class Source(NamedTuple):
    """A recording to classify."""

    path: Path  # as it was given or found; "-" for standard input
    name: str  # its path from the folder that was given, with "/"; for a file that was given itself, its name
    reason: str = ""  # why it cannot be used, if that is known already
    is_stdin: bool = False  # whether it is standard input, and not a file called "-"
    samples: npt.NDArray[np.float32] | None = None  # the recording itself, if it is in memory: mono, shape (n,)
    sr: int = 0  # its sample rate in Hz


def find_sources(clips: Iterable[Clip | Iterable[Clip]]) -> list[Source]:
    """Return the recordings that some paths stand for, each once.

    They are audio files; folders, which stand for the audio files in them at any depth; "-" for standard input; samples
    in memory with their sample rate; or lists of these. Hidden folders are skipped, and links to folders are followed,
    each real folder once. Raises a UserError for anything else.
    """
    found: dict[tuple[Path, bool], Source] = {}
    for n, clip in enumerate(_flat(clips), 1):
        for source in _sources_of(clip, n):
            found.setdefault((source.path, source.is_stdin), source)
    return list(found.values())


def _flat(clips: Iterable[Any]) -> Iterator[Clip]:
    for clip in clips:
        if isinstance(clip, str | Path) or _is_samples(clip):
            yield clip
        elif isinstance(clip, Iterable) and not isinstance(clip, np.ndarray):
            yield from _flat(clip)
        else:
            raise UserError(f"a clip is a path or a tuple (samples, sample rate), not {type(clip).__name__}")


def _is_samples(clip: object) -> bool:
    # A tuple may also hold two paths.
    return isinstance(clip, tuple) and len(clip) == 2 and not isinstance(clip[0], str | Path | tuple)


def _sources_of(clip: Clip, n: int) -> Iterator[Source]:
    if isinstance(clip, tuple):
        yield _in_memory(*clip, n)
        return
    path = Path(clip)
    if clip == STDIN:
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


def _in_memory(samples: Any, sr: Any, n: int) -> Source:
    y = np.asarray(samples)
    if y.ndim != 1 or y.dtype.kind != "f" or not len(y):
        raise UserError(
            f"clip {n} has samples of shape {y.shape} and type {y.dtype}; give mono samples of shape (n,), floats "
            "between -1 and 1"
        )
    if not isinstance(sr, int | float | np.integer | np.floating) or not 1_000 <= sr <= 1_000_000 or sr != int(sr):
        raise UserError(f"clip {n} has the sample rate {sr!r}; give a whole number of Hz from 1000 to 1000000")
    return Source(Path(f"clip {n}"), f"clip {n}", samples=y.astype(np.float32), sr=int(sr))

"""Recordings to classify, what is found in them, a Window or a Recording each, and the formats to write that in."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cache.labels import audacity, raven
from cache.labels.annotation import LabelFormat
from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.tree import walk

if TYPE_CHECKING:
    from cache.shared.types import Float32

STDIN = "-"

# A file, a folder, or samples in memory with their sample rate in Hz.
Clip = str | Path | tuple[Any, int]


class Source(NamedTuple):
    """A recording to classify."""

    path: Path  # as it was given or found; "-" for standard input
    name: str  # its path from the folder that was given, with "/"; for a file that was given itself, its name
    reason: str = ""  # why it cannot be used, if that is known already
    is_stdin: bool = False  # whether it is standard input, and not a file called "-"
    samples: "Float32 | None" = None  # the recording itself, if it is in memory: mono, shape (n,)
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
        elif isinstance(clip, Iterable) and not hasattr(clip, "__array_interface__"):
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
    path = as_path(clip, "a clip")
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
    import numpy as np  # not for the help, which asks for the formats

    y = np.asarray(samples)
    if y.ndim != 1 or y.dtype.kind != "f" or not len(y):
        raise UserError(
            f"clip {n} has samples of shape {y.shape} and type {y.dtype}; give mono samples of shape (n,), floats "
            "between -1 and 1"
        )
    if not isinstance(sr, int | float | np.integer | np.floating) or not 1_000 <= sr <= 1_000_000 or sr != int(sr):
        raise UserError(f"clip {n} has the sample rate {sr!r}; give a whole number of Hz from 1000 to 1000000")
    return Source(Path(f"clip {n}"), f"clip {n}", samples=y.astype(np.float32), sr=int(sr))


# Formats with a row for each file and window, see train.predict.rows.
ROWS = ("text", "csv", "json")

# Formats of labels, to open beside the sound.
LABELS: dict[str, LabelFormat] = {"audacity": audacity, "raven": raven}

PredictFormat = StrEnum("PredictFormat", [*ROWS, *LABELS])  # type: ignore[misc]  # mypy wants to read the names here


class Kind(StrEnum):
    """The subject of a row of predictions: a clip, a window of a recording, the whole recording, or a bad file."""

    CLIP = "clip"
    WINDOW = "window"
    RECORDING = "recording"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a long recording."""

    path: Path  # of the recording
    start: float  # where the window is in the recording, in seconds
    end: float
    label: str  # the most probable class; "" if none is probable enough, or the window is silent
    probabilities: dict[str, float]  # by class; empty for a silent window
    reason: str = ""  # why there are no probabilities
    duration: float = 0.0  # seconds of the recording by its header; 0 if the header does not say
    note: ClassVar[str] = ""
    kind: ClassVar[Kind] = Kind.WINDOW


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording: a clip that was classified whole, a long one after all its windows, or a file that is bad."""

    path: Path
    kind: Kind  # which of the three
    end: float = 0.0  # its length in seconds, as decoded
    # The most probable class of a clip, the class of most windows of a long recording; "" if there is none.
    label: str = ""
    # By class; for a long recording the mean of its windows that have some; empty if there are none.
    probabilities: dict[str, float] = field(default_factory=dict)
    reason: str = ""  # why there are none
    note: str = ""  # what is wrong with a recording that is classified all the same, such as a missing end
    n_windows: dict[str, int] = field(default_factory=dict)  # windows by label, "" for those without a class
    start: ClassVar[float] = 0.0


def by_recording(found: Iterable[Window | Recording]) -> Iterator[tuple[Recording, list[Window | Recording]]]:
    """Yield each recording with its windows; a clip is its own window."""
    windows: list[Window | Recording] = []
    for one in found:
        if one.kind in (Kind.WINDOW, Kind.CLIP):
            windows.append(one)
        if isinstance(one, Recording):
            yield one, windows
            windows = []


class Tally:
    """The windows of a long recording, added up."""

    def __init__(self) -> None:
        self.n_windows: Counter[str] = Counter()
        self.sums: dict[str, float] = {}
        self.n_sums = 0
        self.reasons: set[str] = set()

    def add(self, one: Window) -> None:
        """Count the next window."""
        self.n_windows[one.label] += 1
        self.reasons.add(one.reason)
        self.n_sums += bool(one.probabilities)
        for name, p in one.probabilities.items():
            self.sums[name] = self.sums.get(name, 0.0) + p

    def recording(self, path: Path, end: float, note: str) -> Recording:
        """Return the recording whose windows were counted."""
        labelled = {name: n for name, n in self.n_windows.items() if name}
        return Recording(
            path,
            Kind.RECORDING,
            end,
            max(labelled, key=labelled.__getitem__, default=""),
            {name: total / self.n_sums for name, total in self.sums.items()},
            self.reasons.pop() if len(self.reasons) == 1 else "",
            note,
            dict(self.n_windows),
        )

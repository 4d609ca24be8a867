"""Window and Recording: the results of predict(), each complete when it is made; and the formats to write them in."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from cache.labels import audacity, raven

# Formats with a row for each file and window, see train.predict.rows.
ROWS = ("text", "csv", "json")

# Labels to open beside the sound: modules, each with the ENDING of its files, their HEADER, the line() of a region, and
# in words what to do TO_OPEN them.
LABELS = {"audacity": audacity, "raven": raven}

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

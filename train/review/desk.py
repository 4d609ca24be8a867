"""Desk: the answers to the review page about its items, which are clips or findings, and the decisions about them."""

import getpass
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from cache.file.header import is_folder_name
from cache.file.settings import Setting, band
from cache.labels.corrections import Correction, Decision
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.text import printable

if TYPE_CHECKING:
    from train.review.rulings import Ruling

# Frequencies beside the spectrogram, where they are within its range.
_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A clip or a finding to review."""

    key: Hashable  # what a decision about it has, and no other item
    path: str
    label: str  # its class as it is
    probabilities: Mapping[str, float]  # of the network, by class, the highest first
    why: str  # the reason why it is shown
    speaker: str = ""  # or recorder, by which the run kept clips together; "" if only its recording is known
    suspect: bool = False  # whether its label is probably wrong

    @property
    def group(self) -> str:
        """The speaker, the recorder or the recording that it belongs to."""
        return self.speaker or recording_of(self.path)


ItemT = TypeVar("ItemT", bound=Item)
Decided = TypeVar("Decided", Correction, "Ruling")


class Desk(ABC, Generic[ItemT, Decided]):
    """Items in the order of review, and the last decision about each, by its key; `file` is the table of decisions.

    A view of a finding is moved by so many halves of its length; view 0 of a clip is the clip itself, and those from 1
    on are the clips most like it. A request that is wrong is a UserError, whose message is for the page.
    """

    kind: ClassVar[str]  # a word for an item
    decisions: ClassVar[frozenset[Decision]]  # those that a reviewer may make

    def __init__(
        self, items: Sequence[ItemT], classes: Sequence[str], settings: Mapping[str, Setting], file: Path
    ) -> None:
        self.items, self.classes, self.file = items, classes, file
        self.decided: dict[Hashable, Decided] = {}
        self.who, self._ticks, self._writing = _reviewer(), _ticks(settings), Lock()

    def state(self) -> dict[str, object]:
        """Return what the page shows of all items together; a label and a group are indices of their names."""
        groups = {name: i for i, name in enumerate(sorted({item.group for item in self.items}))}
        return {
            "kind": self.kind,
            "classes": [printable(name) for name in self.classes],
            "labels": [self.classes.index(item.label) for item in self.items],
            "group_names": [printable(name) for name in groups],
            "groups": [groups[item.group] for item in self.items],
            "n_suspects": sum(item.suspect for item in self.items),
            "file": printable(str(self.file)),
            "ticks": self._ticks,
            **self.progress(),
        }

    def progress(self) -> dict[str, object]:
        """Return which items are decided, by their indices, and how many of the suspects."""
        done = [i for i, item in enumerate(self.items) if item.key in self.decided]
        return {"done": done, "n_suspects_done": sum(self.items[i].suspect for i in done)}

    def item(self, index: int, view: int = 0) -> dict[str, object]:
        """Return what the page shows of one item, of whichever kind."""
        item = self.items[index]
        was = self.decided.get(item.key)
        return {
            "path": printable(item.path),
            "label": printable(item.label),
            "probabilities": [[printable(name), p] for name, p in list(item.probabilities.items())[:4]],
            "why": printable(item.why),
            "decision": was and {"decision": was.decision, "new": printable(was.new)},
        }

    @abstractmethod
    def picture(self, index: int, view: int = 0) -> bytes:
        """Return a spectrogram as a PNG."""

    @abstractmethod
    def sound(self, index: int, view: int = 0) -> bytes:
        """Return a WAV."""

    def decide(self, index: object, decision: object, new: object, span: object = None) -> dict[str, object]:
        """Write a decision, which nobody checked yet, into the table, and return the progress after it.

        Raises a UserError if it is not a decision about one of the items, or it cannot be written.
        """
        if type(index) is not int or not 0 <= index < len(self.items):
            raise UserError(f"there is no such {self.kind}")
        item = self.items[index]
        choice, new = self._answered(item, decision, new)
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._writing:
            line = self.write(item, choice, new, span, when)
            if choice is Decision.UNDO:
                self.decided.pop(item.key, None)
            else:
                self.decided[item.key] = line
            self.follow(item)
        return self.progress()

    def _answered(self, item: ItemT, decision: object, new: object) -> tuple[Decision, str]:
        """Return a decision of the page about an item, and the class that it names, "" for none."""
        if not isinstance(decision, str) or decision not in self.decisions or not isinstance(new, str):
            raise UserError("there is no such decision")
        # The page knows names as they are shown.
        new = next((name for name in self.classes if printable(name) == new), new.strip())
        if decision in (Decision.CHANGE, Decision.BOTH):
            if not is_folder_name(new) or len(new.encode()) > 255 or new == item.label:
                raise UserError(f"{new!r} cannot be the new class of a {self.kind} of {item.label}")
        elif new:
            raise UserError(f"{decision} takes no class")
        return Decision(decision), new

    @abstractmethod
    def write(self, item: ItemT, choice: Decision, new: str, span: object, when: str) -> Decided:
        """Append the line of a decision to the table, and return it; nobody checked the span, its new edges, yet."""

    def follow(self, item: ItemT) -> None:  # not every kind has something that follows
        """Write what follows from the decisions about an item."""


def _ticks(settings: Mapping[str, Setting]) -> list[dict[str, float]]:
    """Return frequencies to write beside a spectrogram, and at which share of its height."""
    low, high, n = float(settings["fmin"]), float(settings["fmax"]), int(settings["n_mels"])
    shares = {hz: (band(hz, settings) + 0.5) / n for hz in _HZ if low < hz <= high}
    return [{"hz": hz, "share": min(share, 1.0)} for hz, share in shares.items()]


def _reviewer() -> str:
    """Return the name of the user, as tables of decisions have it."""
    try:
        return printable(getpass.getuser())
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return "somebody"

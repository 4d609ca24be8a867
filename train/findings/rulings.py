"""Rulings: decisions of reviewers about findings, a line each, in findings.csv; and the labels that they give.

Lines are only appended, each in one write, so a kill loses nothing. A later line about the same finding replaces an
earlier one, so two reviewers' tables are merged by putting one behind the other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from cache.labels.annotation import Region
from cache.labels.corrections import FINDINGS, append_line, read_decisions
from cache.shared.errors import UserError
from cache.shared.text import printable

FILE = FINDINGS


class Verdict(StrEnum):
    """The decision of a reviewer about a finding."""

    RIGHT = "right"
    CHANGE = "change"
    BOTH = "both"
    UNSURE = "unsure"
    REJECTED = "rejected"
    UNDO = "undo"


class Ruling(NamedTuple):
    """A line of the table; times are seconds in the recording."""

    recording: str
    start: float
    end: float
    found: str  # the class
    decision: Verdict
    new: str  # the right class for `change`, the second one for `both`, that of background for `rejected`, else ""
    new_start: float  # the right edges, which are the old ones if they were not moved
    new_end: float
    who: str
    when: str  # in ISO 8601
    run: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key of its finding, see key_of()."""
        return key_of(self.recording, self.start, self.end, self.found)

    @property
    def regions(self) -> list[Region]:
        """The labels that it gives; a person is sure of them."""
        names = {
            Verdict.RIGHT: [self.found],
            Verdict.CHANGE: [self.new],
            Verdict.BOTH: [self.found, self.new],
            Verdict.REJECTED: [self.new],
        }.get(self.decision, [])
        return [Region(self.new_start, self.new_end, name, 1.0) for name in names]

    def covers(self, start: float, end: float) -> bool:
        """Whether its labels overlap another span by more than half of the shorter of the two."""
        shorter = min(self.new_end - self.new_start, end - start)
        return bool(self.regions) and min(self.new_end, end) - max(self.new_start, start) > shorter / 2


def key_of(recording: str, start: float, end: float, found: str) -> tuple[str, str, str, str]:
    """Return a key that tells a finding from all others."""
    return recording, f"{start:.6f}", f"{end:.6f}", found


def append_ruling(file: Path, ruling: Ruling) -> None:
    """Append a line, which is on the disk when this returns; a UserError says why it cannot be."""
    if any(not name.isprintable() for name in (ruling.found, ruling.new)):
        raise UserError(f"{printable(ruling.new or ruling.found)!r} cannot be a class in a table of findings")
    times = {name: f"{getattr(ruling, name):.6f}" for name in ("start", "end", "new_start", "new_end")}
    append_line(file, Ruling._fields, {**ruling._asdict(), **times, "run": printable(ruling.run)}.values())


def read_rulings(file: Path, notify: Callable[[str], None]) -> list[Ruling]:
    """Return the last ruling about each finding, except those that were undone, by their times.

    Lines that are not rulings are skipped, with a notice. Raises a UserError if the file is something else.
    """
    found = read_decisions(file, Ruling._fields, _ruling, "finding", notify)
    last = {one.key: one for one in sorted(found, key=lambda one: one.when)}
    return [one for one in last.values() if one.decision is not Verdict.UNDO]


def _ruling(cells: Sequence[str]) -> Ruling:
    recording, start, end, found, decision, new, new_start, new_end, who, when, run = cells
    times = [float(cell) for cell in (start, end, new_start, new_end)]
    one = Ruling(recording, times[0], times[1], found, Verdict(decision), new, times[2], times[3], who, when, run)
    needs_new = one.decision in (Verdict.CHANGE, Verdict.BOTH, Verdict.REJECTED)
    is_span = all(map(math.isfinite, times)) and 0 <= one.new_start < one.new_end
    if not (recording and found and when and is_span and bool(new) == needs_new):
        raise ValueError
    return one


def regions_of(rulings: Iterable[Ruling]) -> list[Region]:
    """Return the labels that rulings about a recording give, by rising start; a second class comes second."""
    return sorted((region for one in rulings for region in one.regions), key=lambda region: region[:2])

"""Annotation, a label of a part of a recording; Problem, why a line is not one; Region, one to write."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from cache.shared.text import human_count, printable

# Problems of one kind that are told one by one, and examples where there are more.
_N_NAMED = 5
_N_EXAMPLES = 3

FREQUENCIES = "the frequency bounds of its boxes are not used: a clip has all frequencies"


class Annotation(NamedTuple):
    """A label of a part of a recording, as a line of a table gives it."""

    file: str  # the recording: as the table writes it, "" where it does not, and once it is found, its path
    # Seconds within the recording; an infinite end is that of the recording. A reader of a format gives what is there,
    # which may be NaN.
    start: float
    end: float
    label: str  # the name of what is heard
    # The table, and the number of its line, from 1.
    table: Path
    line: int
    channel: int = 0  # the channel in which it is labelled, from 1; 0: all of them

    @property
    def where(self) -> str:
        """The line for people, "night.txt:12"."""
        return f"{printable(self.table.name)}:{self.line}"


class Problem(NamedTuple):
    """Something to tell about a line of a table, or with line 0 about the whole table."""

    table: Path
    line: int
    reason: str  # what is wrong, in words
    kind: str  # the same for problems that are reported together
    # Whether the line is skipped for it. Otherwise it is used, and the user is told how.
    skipped: bool = True


class Region(NamedTuple):
    """An annotation as it is written: a part of a recording, in seconds, and how probable its label is."""

    start: float
    end: float
    label: str
    probability: float


class LabelFormat(Protocol):
    """A module that writes labels for another program: `audacity` or `raven`."""

    KIND: str  # what its files are called, "a label track"
    ENDING: str  # how their names end
    HEADER: str  # their first line; "" for none
    TO_OPEN: str  # what to do with them, in words that go on with "and correct them"

    def line(self, number: int, region: Region, recording: str, band: tuple[float, float]) -> str:
        """Return the line of a region, the one of this number, over a band of frequencies in Hz."""


def seconds(text: str | None) -> float:
    """Return a finite number that is written with a decimal point or a decimal comma; NaN for anything else."""
    text = (text or "").strip()
    try:
        number = float(text if "." in text else text.replace(",", "."))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def told(problems: Iterable[Problem]) -> list[str]:
    """Return problems as lines for the user: many of one kind are one line with examples."""
    kinds: dict[tuple[bool, str], dict[tuple[Path, str], list[int]]] = {}
    for table, line, reason, kind, skipped in problems:
        kinds.setdefault((skipped, kind), {}).setdefault((table, reason), []).append(line)
    said = []
    for (skipped, _), found in kinds.items():
        entries = [f"{_place(table, lines)}: {reason}" for (table, reason), lines in found.items()]
        after = "; skipped" if skipped else ""
        if len(entries) <= _N_NAMED:
            said += [entry + after for entry in entries]
        else:
            n = human_count(sum(map(len, found.values())), "line")
            rest = human_count(len(entries) - _N_EXAMPLES, "more case")
            said.append(f"{n}{' skipped' * skipped}: {'; '.join(entries[:_N_EXAMPLES])}; and {rest} like these")
    return said


def _place(table: Path, lines: list[int]) -> str:
    place = printable(str(table)) + (f":{lines[0]}" if lines[0] else "")
    return place if len(lines) == 1 else f"{place} and {human_count(len(lines) - 1, 'more line')}"

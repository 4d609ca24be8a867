"""Annotation, a label of a part of a recording, and Region, such a part as it is written."""

import math
from pathlib import Path
from typing import NamedTuple

from cache.shared.text import printable


class Annotation(NamedTuple):
    """A label of a part of a recording, as a line of a table gives it.

    Attributes
    ----------
    file
        The recording: as the table writes it, "" where it does not, and once it is found, its path.
    start, end
        Seconds within the recording. A reader of a format gives what is there, which may be NaN.
    label
        The name of what is heard.
    table, line
        The table, and the number of its line, from 1.
    """

    file: str
    start: float
    end: float
    label: str
    table: Path
    line: int

    @property
    def where(self) -> str:
        """The line for people, "night.txt:12"."""
        return f"{printable(self.table.name)}:{self.line}"


class Region(NamedTuple):
    """An annotation as it is written: a part of a recording, in seconds, and how probable its label is."""

    start: float
    end: float
    label: str
    probability: float


def seconds(text: str | None) -> float:
    """Return a number that is written with a decimal point or a decimal comma; NaN for anything else."""
    text = (text or "").strip()
    try:
        return float(text if "." in text else text.replace(",", "."))
    except ValueError:
        return math.nan

"""Mark and Region, a line of a table of labels as it is read and as it is written, and how its numbers are read."""

import math
from typing import NamedTuple


class Annotation(NamedTuple):
    """What a line says: seconds that may be NaN, a name that may be empty, and the recording's name if it is there."""

    line: int
    start: float
    end: float
    name: str
    file: str = ""


class Region(NamedTuple):
    """A part of a recording with one label, in seconds, and how probable that label is."""

    start: float
    end: float
    label: str
    probability: float


def seconds(text: str | None) -> float:
    """Return a number that is written with a decimal point or a decimal comma; NaN for what is none."""
    text = (text or "").strip()
    try:
        return float(text if "." in text else text.replace(",", "."))
    except ValueError:
        return math.nan

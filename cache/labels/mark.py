"""Mark, a line of a table of labels whatever its format, and numbers as programs of every country write them."""

import math
from typing import NamedTuple


class Mark(NamedTuple):
    """What a line says: seconds that may be NaN, a name that may be empty, and the recording's name if it is there."""

    line: int
    start: float
    end: float
    name: str
    file: str = ""


def seconds(text: str | None) -> float:
    """Return a number that is written with a decimal point or a decimal comma; NaN for what is none."""
    text = (text or "").strip()
    try:
        return float(text if "." in text else text.replace(",", "."))
    except ValueError:
        return math.nan

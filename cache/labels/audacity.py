"""Audacity's label track: start, end and label of each region, with tabs between them and no header."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache.labels.annotation import Annotation, Region, seconds
from cache.shared.text import printable

ENDING = ".labels.txt"
HEADER = ""


def recognises(lines: Sequence[str]) -> bool:
    """Whether these are the lines of a label track."""
    first = next((line for line in lines if line.strip()), "").split("\t")
    return len(first) in (2, 3) and not any(math.isnan(seconds(text)) for text in first[:2])


def annotations(table: Path, lines: Sequence[str], label_column: str | None) -> Iterator[Annotation]:
    r"""Yield the labels; a line that begins with a backslash holds the frequencies of the one before it."""
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("\\"):
            start, end, name, *_ = (*line.split("\t", 2), "", "")
            yield Annotation("", seconds(start), seconds(end), name.strip(), table, number)


def line(number: int, region: Region, recording: str, band: tuple[float, float]) -> str:
    """Return the line of a region."""
    return f"{region.start:.6f}\t{region.end:.6f}\t{printable(region.label)}"

"""Audacity's label track: start, end and label of each region, with tabs between them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from cache.shared.text import printable
from train.predict.regions import Region
from train.runs.directory import Run

ENDING = ".labels.txt"


def lines(run: Run, path: Path, regions: Iterable[Region]) -> Iterator[str]:
    """Yield the lines of the labels of a recording."""
    for region in regions:
        yield f"{region.start:.6f}\t{region.end:.6f}\t{printable(region.label)}"

"""Raven's selection table: a row a region, over the band of the features, under a header."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from cache.shared.text import printable
from train.predict.regions import Region
from train.runs.directory import Run

ENDING = ".selections.txt"

_REQUIRED = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")


def lines(run: Run, path: Path, regions: Iterable[Region]) -> Iterator[str]:
    """Yield the lines of the labels of a recording."""
    yield "\t".join((*_REQUIRED, "Begin File", "Class", "Probability"))
    low, high = float(run.settings["fmin"]), float(run.settings["fmax"])
    for i, region in enumerate(regions, 1):
        times = f"{region.start:.6f}\t{region.end:.6f}\t{low:.1f}\t{high:.1f}"
        label = f"{printable(path.name)}\t{printable(region.label)}\t{region.probability:.4f}"
        yield f"{i}\tSpectrogram 1\t1\t{times}\t{label}"

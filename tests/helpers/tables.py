"""The CSV files of a run, by the standard library's own reader."""

import csv
from pathlib import Path


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def predictions(run: Path) -> list[dict[str, str]]:
    return table(run / "predictions.csv")

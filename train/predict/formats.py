"""Formats of predictions: their names, which are known without starting what predicts."""

from enum import StrEnum

from cache.labels import audacity, raven

# A line a file and window, see train.predict.tables.
ROWS = ("text", "csv", "json")

# Labels to open beside the sound: a module each, with the ENDING of its files and their lines() of regions.
LABELS = {"audacity": audacity, "raven": raven}

PredictFormat = StrEnum("PredictFormat", [*ROWS, *LABELS])  # type: ignore[misc]  # mypy wants to read the names here

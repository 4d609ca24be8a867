"""What a network would find in a recording, without one."""

from pathlib import Path

from train.predict.results import Kind, Recording, Window


def heard(path: Path, windows: list[tuple[float, float, str]]) -> list[Window | Recording]:
    """Windows of a recording, each with the class that a network is sure of, "" in silence; and then the recording."""
    found = [Window(path, start, end, label, {label: 1.0} if label else {}) for start, end, label in windows]
    return [*found, Recording(path, Kind.RECORDING, found[-1].end)]

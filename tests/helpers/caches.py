"""Comparing two caches, and making a cache of the rows of another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.file.columns import X_DTYPES, Columns, fingerprint
from cache.file.container import ALIGNMENT, write_around_rows
from cache.shared.segment import Segment


def assert_same(cache: Cache, expected: Cache) -> None:
    """Every row, label and name is the same, to the bit."""
    assert cache.paths == expected.paths
    assert cache.X.tobytes() == expected.X.tobytes()
    assert cache.y.tobytes() == expected.y.tobytes()
    assert cache.fingerprint == expected.fingerprint


def rewritten(cache: Cache, file: Path, rows: npt.NDArray[np.intp], columns: Columns, **header: Any) -> Path:
    """A cache of these rows of another, with some other columns and attributes, and checksums that agree with them."""
    arrays = {"y": cache.y[rows], **{name: column[rows] for name, column in cache.columns.items()}, **columns}
    head = replace(cache.header, **header)
    attributes = replace(head, fingerprint=fingerprint(head, arrays)).attributes()
    file.write_bytes(bytes(ALIGNMENT) + cache.X[rows].tobytes())
    write_around_rows(file, len(rows), X_DTYPES[head.dtype], {**arrays, **cache.rejected}, attributes)
    return file


def in_windows(cache: Cache, file: Path, n_windows: list[int], **columns: npt.NDArray[Any]) -> Path:
    """A cache in which each clip has so many rows of a second, half a second apart; one: the whole clip."""
    rows = np.repeat(np.arange(len(cache)), n_windows)
    start = np.concatenate([np.arange(n) / 2 if n > 1 else np.zeros(1) for n in n_windows])
    end, clip, path = np.zeros(len(rows)), np.full(len(rows), b"", "S200"), cache.columns["path"][rows].astype("S200")
    for i in np.flatnonzero(np.repeat(n_windows, n_windows) > 1):
        clip[i], end[i] = path[i], start[i] + 1
        path[i] = Segment(clip[i].decode(), float(start[i]), float(end[i])).path.encode()
    clip_duration = np.where(clip == b"", 0, (np.repeat(n_windows, n_windows) + 1) / 2)
    made = {"path": path, "start": start, "end": end, "clip": clip, "clip_duration": clip_duration}
    return rewritten(cache, file, rows, made | columns, crop="segments")

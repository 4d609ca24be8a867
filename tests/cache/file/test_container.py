"""The container: whatever the number of clips, classes and letters, HDF5 leaves the place of the seal alone."""

import os
from dataclasses import replace
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from cache import open_cache
from cache.file.columns import COLUMNS, REJECTED, ROW_SHAPE, X_DTYPES, fingerprint
from cache.file.container import ALIGNMENT, OPTIONS, lay_out, write_around_rows
from cache.file.header import Header
from cache.file.settings import MelSettings
from tests.helpers.amounts import amount


class Size(NamedTuple):
    """The sizes of the datasets follow from these and from the number of clips."""

    letters_of_paths: int
    n_classes: int
    letters_of_remarks: int
    n_rejected: int
    dtype: str


SIZES = [
    Size(28, 3, 1, 0, "float32"),
    Size(24, 2, 1, 1, "float16"),
    Size(97, 35, 60, 20, "float32"),
    Size(255, 200, 140, 400, "float16"),
]
# The place of the seal was overwritten at these numbers of clips, with the first of the sizes.
UNWRITABLE_BEFORE = [425, 455, 468, 482, 508]


def filled(n, size):
    """The datasets of a cache of n clips, all but X, with values that a reader accepts."""
    names = [f"c{i % size.n_classes}/{i:0{size.letters_of_paths - 3}}" for i in range(n)]
    widths = {"format": 10, "sha256": 64, "remark": size.letters_of_remarks, "rejected_reason": 40}
    arrays = {"y": np.eye(size.n_classes, dtype="<f4")[np.arange(n) % size.n_classes]}
    for name, kind in {**COLUMNS, **REJECTED}.items():
        n_rows = size.n_rejected if name in REJECTED else n
        arrays[name] = np.array([b"x" * widths.get(name, 1)] * n_rows, "S") if kind == "S" else np.ones(n_rows, kind)
    arrays["path"] = np.array(names, "S")
    arrays["start"][:] = arrays["end"][:] = arrays["corrected"][:] = arrays["clip_duration"][:] = 0
    arrays["clip"][:] = b""
    return arrays


def header(arrays, size):
    made = Header(MelSettings(), 1, tuple(f"c{i}" for i in range(size.n_classes)), size.dtype)
    return replace(made, fingerprint=fingerprint(made, arrays)).attributes()


def sparse(file, n, size):
    """A file of n rows that take no room on the disk."""
    with file.open("wb"):
        os.truncate(file, ALIGNMENT + n * int(np.prod(ROW_SHAPE)) * X_DTYPES[size.dtype].itemsize)
    return file


def places_of(file, n, size, shapes):
    """The offsets at which HDF5 puts X, ends it, and begins the first of the other datasets, which have n rows."""
    of_n = {name: ((n if name not in REJECTED else shape[0], *shape[1:]), kind) for name, (shape, kind) in shapes}
    with h5py.File(file, "w", **OPTIONS) as h5:
        datasets = lay_out(h5, n, X_DTYPES[size.dtype], of_n)
        x = h5py.h5d.open(h5.id, b"X")
        offsets = [dataset.get_offset() for dataset in datasets.values()]
        places = x.get_offset(), x.get_offset() + x.get_storage_size(), min(o for o in offsets if o is not None)
    # A file system waits for the disk when a file is emptied and written again.
    file.unlink()
    return places


def test_all_that_grows_with_the_number_of_clips_lies_behind_x(tmp_path):
    # Every seventh number with one of the sizes, and every one with all of them under `make fuzz`.
    n_sizes, step = amount(1, len(SIZES)), amount(7, 1)
    shapes = [{name: (a.shape, a.dtype) for name, a in filled(1, size).items()}.items() for size in SIZES]
    for n in range(1, 5001, step):
        for i in range(n, n + n_sizes):
            size = SIZES[i % len(SIZES)]
            x, x_end, others = places_of(tmp_path / "empty.h5", n, size, shapes[i % len(SIZES)])
            assert x == ALIGNMENT, (n, size)
            assert others >= x_end, (n, size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.n_classes} classes")
def test_a_cache_of_any_number_of_clips_can_be_written_and_read(size, tmp_path):
    for n in (1, 2, 3, *UNWRITABLE_BEFORE, *range(301, 561, 9), 1000, 3000):
        arrays = filled(n, size)
        file = sparse(tmp_path / "features.h5", n, size)
        write_around_rows(file, n, X_DTYPES[size.dtype], arrays, header(arrays, size))
        cache = open_cache(file)
        assert len(cache) == n
        assert len(cache.rejections) == size.n_rejected
        np.testing.assert_array_equal(cache.columns["path"], arrays["path"])
        np.testing.assert_array_equal(cache.y, arrays["y"])

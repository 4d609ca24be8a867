"""The rows of the next batch are asked of the disk, and prepared, while this one is used."""

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from train.dataset.augment import Augmentation
from train.dataset.rows import Batches

N_ROWS = 256


def in_memory(file: Path) -> np.ndarray:
    """Return which pages of a file are in memory, as mincore() says."""
    size = file.stat().st_size
    with file.open("rb") as raw, mmap.mmap(raw.fileno(), size, access=mmap.ACCESS_COPY) as view:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages)
        return np.frombuffer(bytes(pages), np.uint8) & 1 == 1


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="there is no way to drop a file from memory")
def test_the_rows_of_the_next_batch_come_into_memory_before_they_are_used(tmp_path: Path) -> None:
    file, offset = tmp_path / "X", 1000
    rng = np.random.default_rng(0)
    X = rng.random((N_ROWS, 128, 128, 1), np.float32)
    file.write_bytes(bytes(offset) + X.tobytes())
    with file.open("rb") as raw:
        os.fsync(raw.fileno())
        os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(file).any():
        pytest.skip("this file system keeps its files in memory")
    mapped = np.memmap(file, np.float32, "r", offset, X.shape)
    batches = Batches(mapped, np.eye(N_ROWS, dtype=np.float32), np.array([10, 100, 200]), 1)
    batches.shuffle(0, 0)
    np.testing.assert_array_equal(batches[0][0], X[batches.order[:1]])
    n_bytes = X[0].nbytes
    first, last = ((offset + (batches.order + end) * n_bytes) // mmap.PAGESIZE for end in (0, 1))
    patience = time.monotonic() + 30
    while not in_memory(file)[first[1] : last[1] + 1].all():
        assert time.monotonic() < patience
        time.sleep(0.01)
    assert not in_memory(file)[first[2] : last[2]].any()


def test_rows_in_memory_come_as_they_are() -> None:
    X = np.random.default_rng(0).random((5, 128, 128, 1), np.float32)
    batches = Batches(X[1:], np.eye(4, dtype=np.float32), np.arange(4), 3)
    np.testing.assert_array_equal(np.concatenate([batches[0][0], batches[1][0]]), X[1:])


@pytest.mark.parametrize("n_rows", [0, 1, 3, 4, 10])
def test_a_loop_over_batches_takes_each_once_and_in_order(n_rows: int) -> None:
    X = np.random.default_rng(0).random((10, 128, 16, 1), np.float32)
    n_frames, rows = np.full(10, 16), np.arange(n_rows)
    batches = Batches(X, np.eye(10, dtype=np.float32), rows, 3, None, Augmentation(), n_frames, n_views=2)
    for epoch in range(2):
        batches.shuffle(0, epoch)
        looped = list(batches)
        assert len(looped) == len(batches) == -(-n_rows // 3)
        for index, (varied, labels) in enumerate(looped):
            np.testing.assert_array_equal(varied, batches[index][0])
            np.testing.assert_array_equal(labels, batches[index][1])


def test_an_error_in_a_batch_reaches_the_loop_over_them() -> None:
    X = np.random.default_rng(0).random((4, 128, 16, 1), np.float32)
    batches = iter(Batches(X, np.eye(4, dtype=np.float32), np.array([0, 1, 2, 4]), 2))
    next(batches)
    with pytest.raises(IndexError):
        next(batches)

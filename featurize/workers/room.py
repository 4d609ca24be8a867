"""Room: where the rows of a batch are written, in memory that is there already and, if that is full, in a file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.shared.files import write_all

Rows = npt.NDArray[Any]


class Room:
    """Room for rows, which are added one by one; without a file it grows in memory."""

    def __init__(self, block: Rows, file: Path | None = None) -> None:
        self.block = block  # shape (some rows, 128, 128, 1)
        self.error: OSError | None = None  # the file's error, not raised: decoders would take it for the clip's
        self._path = file
        self._file = -1
        self._kept: list[Rows] = []
        self._n_kept = self._n_block = 0  # rows that have left the block, and rows in it

    @property
    def n(self) -> int:
        """How many rows there are."""
        return self._n_kept + self._n_block

    @property
    def in_file(self) -> bool:
        """Whether the rows are in the file."""
        return self._file >= 0

    def next(self) -> Rows:
        """Return the place of the next row, which counts once it is added."""
        if self._n_block == len(self.block):
            self._empty_block()
        place: Rows = self.block[self._n_block]
        return place

    def add(self) -> None:
        """Count the row that was written to the place of the next one."""
        self._n_block += 1

    def cut(self, n: int) -> None:
        """Forget all rows behind the first n."""
        if n >= self._n_kept:
            self._n_block = n - self._n_kept
            return
        if self._file >= 0:
            os.ftruncate(self._file, n * self.block[0].nbytes)
        else:
            rows = np.concatenate(self._kept)[:n]
            self._kept = [rows] if n else []
        self._n_kept, self._n_block = n, 0

    def close(self) -> Rows:
        """Return the rows if they are in memory; otherwise they are all in the file."""
        if not self.in_file:
            return np.concatenate([*self._kept, self.block[: self._n_block]]) if self._kept else self.block[: self.n]
        self._empty_block()
        os.close(self._file)
        return self.block[:0]

    def _empty_block(self) -> None:
        rows = self.block[: self._n_block]
        if not len(rows):
            return
        if self._path is None:
            self._kept.append(rows.copy())
        else:
            try:
                if self._file < 0:
                    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._file = os.open(self._path, flags, 0o666)
                write_all(self._file, rows.data, self._n_kept * self.block[0].nbytes)
            except OSError as error:
                self.error = error
                raise
        self._n_kept, self._n_block = self.n, 0


def rows_in(file: Path, block: Rows) -> Iterator[Rows]:
    """Yield the rows of a file that a Room filled, as many at a time as a block holds, and delete it."""
    with file.open("rb", buffering=0) as rows:
        file.unlink()
        while len(part := np.fromfile(rows, block.dtype, block.size)):
            yield part.reshape(-1, *block.shape[1:])

"""The container: HDF5 written around rows that are in the file already, and the seal that shows whether it is whole.

::

    byte 0             65,472     65,536                                      end of X
    |                  |          |                                           |
    | superblock, root | seal     | X, row after row, untouched by HDF5       | y, the columns, their headers,
    | group, X's header| 64 bytes | (N, 128, 128, 1)                          | attributes
    +------------------+----------+-------------------------------------------+-----------------------------

HDF5 gets a file object that reports an empty file. X is the first dataset, and its size puts it at the first multiple
of ALIGNMENT. Everything that HDF5 allocates after X goes to the end of the file, because the file has no list of free
space: otherwise HDF5 would fill the gap before X with small datasets, and some would end in the 64 bytes of the seal.
"""

import hashlib
import io
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, REJECTED, ROW_SHAPE, X_DTYPES, Columns
from cache.shared.cli import signals_held
from cache.shared.errors import CacheError, DamagedCache
from cache.shared.files import write_all

# X starts on a multiple of this: rows stay aligned to the file system's blocks, so that a file system which shares
# blocks can share whole rows between the old cache and the new one.
ALIGNMENT = 65536

# The last bytes before X hold a seal: magic, where X ends, where the file ends, sha256 of all that is not X. It is
# checked before HDF5 sees the file, because HDF5 may loop for ever over a damaged structure.
_SEAL = struct.Struct("<8sQQ32s")
_SEAL_MAGIC = b"melseal1"
SEAL_OFFSET = ALIGNMENT - 64
_SEAL_BLOCK = 1 << 20

# The v110 format has checksums in its structures; the earliest format does not.
OPTIONS = {
    "libver": "v110",
    "alignment_threshold": ALIGNMENT // 2,
    "alignment_interval": ALIGNMENT,
    "fs_strategy": "none",
}


def write_around_rows(
    file: Path, n_rows: int, dtype: np.dtype[Any], arrays: Columns, attributes: Mapping[str, Any]
) -> None:
    """Write the HDF5 structure and the seal around rows that start at byte ALIGNMENT; X itself is not touched.

    All bytes of the file but those of the rows are overwritten; `arrays` are all datasets but X. Raises a CacheError if
    HDF5 put a dataset where this format does not have it, and an OSError if the disk is full or fails.
    """
    with file.open("r+b", buffering=0) as rows:
        raw = _AroundRows(rows.fileno())
        with signals_held(), h5py.File(raw, "w", **OPTIONS) as h5:
            shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
            for name, dataset in lay_out(h5, n_rows, dtype, shapes).items():
                if arrays[name].size:
                    data = np.ascontiguousarray(arrays[name])
                    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, data, dataset.get_type())
            h5.attrs.update(attributes)
        if raw.error is not None:
            raise raw.error
        if raw.head_end > SEAL_OFFSET:
            raise CacheError("HDF5 wrote where the seal belongs; please report this with the version of h5py")
        os.ftruncate(rows.fileno(), raw.end)
        x_end = ALIGNMENT + n_rows * int(np.prod(ROW_SHAPE)) * dtype.itemsize
        write_all(rows.fileno(), seal(rows.fileno(), x_end, raw.end), SEAL_OFFSET)
        os.fsync(rows.fileno())


def seal(file: int, x_end: int, end: int) -> bytes:
    """Return the seal of a file whose X lies from ALIGNMENT to `x_end`, and which ends at `end`."""
    digest = hashlib.sha256(os.pread(file, SEAL_OFFSET, 0))
    for start in range(x_end, end, _SEAL_BLOCK):
        digest.update(os.pread(file, min(_SEAL_BLOCK, end - start), start))
    return _SEAL.pack(_SEAL_MAGIC, x_end, end, digest.digest())


def is_sealed(file: int) -> bool:
    """Whether a file has a seal.

    Raises a DamagedCache if the seal does not fit the content.
    """
    found = os.pread(file, _SEAL.size, SEAL_OFFSET)
    if len(found) < _SEAL.size or not found.startswith(_SEAL_MAGIC):
        return False
    _, x_end, end, _ = _SEAL.unpack(found)
    if end != os.fstat(file).st_size or not ALIGNMENT <= x_end <= end or seal(file, x_end, end) != found:
        raise DamagedCache("its structure or its metadata is not what was written")
    return True


def lay_out(
    h5: h5py.File,
    n_rows: int,
    dtype: np.dtype[Any],
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
) -> dict[str, Any]:
    """Allocate every dataset in an empty file: X at ALIGNMENT, and all others, by their `shapes`, behind it.

    Returns h5py's low-level datasets by name, without X; they are still empty. Raises a CacheError if HDF5 put a
    dataset elsewhere.
    """
    x = _allocate(h5, "X", (n_rows, *ROW_SHAPE), dtype)
    if x.get_offset() != ALIGNMENT:
        raise CacheError(
            f"HDF5 put X at byte {x.get_offset()}, not at {ALIGNMENT}; please report this with the version of h5py"
        )
    datasets = {name: _allocate(h5, name, shape, kind) for name, (shape, kind) in shapes.items()}
    x_end = ALIGNMENT + x.get_storage_size()
    for name, dataset in datasets.items():
        # An empty dataset has no offset.
        offset = dataset.get_offset()
        if offset is not None and offset < x_end:
            raise CacheError(f"HDF5 put {name!r} before the end of X; please report this with the version of h5py")
    return datasets


@contextmanager
def open_hdf5(raw: BinaryIO) -> Iterator[h5py.File]:
    """Open the HDF5 structure of an open file; raise a DamagedCache if it is not whole."""
    # Through a Python file object HDF5 takes no lock, and X is mapped from the inode that was checked.
    try:
        with h5py.File(raw, "r") as h5:
            yield h5
    except CacheError:
        raise
    # Each layer of HDF5 and h5py has an exception of its own for damage.
    except Exception:
        raise DamagedCache("it is not a whole HDF5 file") from None


def mapped(h5: h5py.File, name: str, raw: BinaryIO) -> npt.NDArray[Any]:
    """Map a dataset of an open file; raise a DamagedCache if it is not stored as this format stores it."""
    # A soft or external link, or storage outside the file, could lead to any file; none is followed.
    if not isinstance(h5.get(name, getlink=True), h5py.HardLink):
        raise DamagedCache(f"it has no dataset {name!r} of its own")
    dataset = h5[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DamagedCache(f"{name!r} is not a dataset")
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_nfilters() or plist.get_external_count():
        raise DamagedCache(f"{name!r} is not contiguous and uncompressed, so it cannot be mapped")
    dtype, shape = _dtype(name, dataset), dataset.shape
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes == 0:
        return np.empty(shape, dtype)
    offset = dataset.id.get_offset()
    if offset is None or offset + n_bytes > os.fstat(raw.fileno()).st_size:
        raise DamagedCache(f"{name!r} reaches past the end of the file, so the file is cut short")
    return np.memmap(raw, dtype, "r", offset, shape)


def _dtype(name: str, dataset: h5py.Dataset) -> np.dtype[Any]:
    dtype: np.dtype[Any] = dataset.dtype
    kinds = {"X": tuple(X_DTYPES.values()), "y": (np.dtype("<f4"),)}
    wanted = {**COLUMNS, **REJECTED}.get(name)
    fits = dtype.kind == "S" if wanted == "S" else dtype in kinds.get(name, (np.dtype(wanted),))
    # HDF5 has more types than NumPy, such as floats of another exponent; only the plain type can be mapped.
    kind = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    if not (fits and dataset.id.get_type().equal(h5py.h5t.py_create(kind, logical=True))):
        raise DamagedCache(f"{name!r} has the type {dtype}, which this format does not have there")
    return dtype


class _AroundRows(io.RawIOBase):
    """A file that HDF5 takes for empty and writes from the start, although the rows are in it already."""

    def __init__(self, file: int) -> None:
        self._file = file
        self.end = self.head_end = self._position = 0
        self.error: OSError | None = None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.end)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file, max(0, min(len(view), self.end - self._position)), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        # HDF5 goes on after an error and loses it, so the first one is kept, and raised when HDF5 is done.
        view = memoryview(data).cast("B")
        try:
            if self.error is None:
                write_all(self._file, view, self._position)
        except OSError as error:
            self.error = error
        self._position += len(view)
        if self._position <= ALIGNMENT:
            self.head_end = max(self.head_end, self._position)
        self.end = max(self.end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        # The file itself keeps its length until all is written, because HDF5 also truncates when it fails.
        self.end = self._position if size is None else size
        return self.end


def _allocate(h5: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    type_id = h5py.h5t.py_create(kind, logical=True)
    return h5py.h5d.create(h5.id, name.encode(), type_id, h5py.h5s.create_simple(shape), plist)

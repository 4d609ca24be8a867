"""publish(): finished rows become the cache, whole or not at all."""

import errno
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cache.file.gather import gather_rows
from cache.file.layout import (
    ALIGNMENT,
    COLUMNS,
    FORMAT,
    FORMAT_VERSION,
    REJECTED,
    ROW_SHAPE,
    SEAL_OFFSET,
    X_DTYPES,
    CacheError,
    Columns,
    fingerprint,
    seal,
)
from cache.file.partial import Partial, Rejected, close_partial, gathered_path, write_all
from cache.file.reader import Cache, open_cache
from cache.file.settings import Setting
from cache.shared.command import signals_held
from cache.shared.walk import is_utf8

# What a file system says that does not sync directories.
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP}


@dataclass(frozen=True)
class Header:
    """What holds for every row of a cache; see the attributes in `cache.file.layout`."""

    settings: Mapping[str, Setting]
    feature_version: int
    class_names: tuple[str, ...]
    dtype: str
    versions: Mapping[str, str] = field(default_factory=dict)
    data_dir: str = "."
    max_per_class: int = 0
    tables: tuple[str, ...] = ()
    label_column: str = ""
    widen: bool = False
    label_length: float = 0.0
    background: int = 0

    @property
    def determines_rows(self) -> dict[str, object]:
        """The part that a row's bytes and label depend on."""
        return {
            "settings": dict(self.settings),
            "feature_version": self.feature_version,
            "class_names": list(self.class_names),
            "dtype": self.dtype,
        }


def publish(
    cache_file: Path,
    header: Header,
    clips: Columns,
    labels: npt.NDArray[np.intp],
    source: npt.NDArray[np.int64],
    old: Cache | None,
    partial: Partial,
    rejected: Sequence[Rejected],
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Put the rows in their final order into one HDF5 file and move it into place.

    Rows that already lie in order in the partial file stay where they are and the HDF5 structure is written around
    them; otherwise a new file shares them with the old ones where the file system can do that (XFS, Btrfs), and takes a
    copy where it cannot. Either file is synced before it
    takes the old one's name and the directory after it, so that even a power cut leaves one of the two, whole.

    Parameters
    ----------
    cache_file
        The name to publish under.
    header
        What holds for every row.
    clips
        The columns `path`, `size`, `mtime_ns`, `inode`, `start` and `end` of the clips in final order, shape (N,) each.
    labels
        Their label indices, shape (N,).
    source
        Where each row comes from, shape (N,): i >= 0 is row i of `old`, -1 - i is slot i of `partial`.
    old
        The cache that is being replaced, if it serves.
    partial
        The finished rows; closed and gone afterwards.
    rejected
        The clips that are not in the cache.
    say
        Takes a line for the user about what that costs.

    Returns
    -------
    str
        The fingerprint of the new cache.
    """
    columns = _columns(clips, source, old, partial)
    rows: Columns = {"y": np.eye(len(header.class_names), dtype="<f4")[labels], **columns}
    arrays: Columns = {**rows, **_rejected(rejected)}
    attributes = _attributes(header, rows)
    in_place = partial.n_slots == len(source) and np.array_equal(source, -1 - np.arange(len(source)))
    file = partial.rows_path if in_place else gathered_path(partial.rows_path)
    try:
        if not in_place:
            gather_rows(file, source, old, partial, say)
        _seal(file, len(source), X_DTYPES[header.dtype], arrays, attributes)
        open_cache(file)
        file.replace(cache_file)
    except BaseException:
        if not in_place:
            file.unlink(missing_ok=True)
        raise
    sync_directory(cache_file.parent)
    discard(partial)
    return str(attributes["fingerprint"])


def discard(partial: Partial) -> None:
    """Remove a partial file and its journal, the journal first: alone it would say nothing true."""
    close_partial(partial)
    partial.journal_path.unlink(missing_ok=True)
    partial.rows_path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut, on file systems that can."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(file)


def _columns(clips: Columns, source: npt.NDArray[np.int64], old: Cache | None, partial: Partial) -> Columns:
    is_new = source < 0
    columns: Columns = {}
    for name, kind in COLUMNS.items():
        if name in clips:
            column = clips[name]
        else:
            column = partial.columns[name][-1 - source[is_new]]
            if old is not None and not is_new.all():
                reused = old.columns[name][source[~is_new]]
                computed, column = column, np.empty(len(source), np.promote_types(reused.dtype, column.dtype))
                column[~is_new] = reused
                column[is_new] = computed
        columns[name] = _narrow(column) if kind == "S" else column
    return columns


def _rejected(rejected: Sequence[Rejected]) -> Columns:
    fields = zip(REJECTED.items(), Rejected._fields, strict=True)
    return {name: _array([getattr(clip, field) for clip in rejected], kind) for (name, kind), field in fields}


def _array(values: Sequence[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "S":
        return np.array([value.encode() for value in values] or np.empty(0), "S")
    return np.array(values, kind)


def _narrow(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # As wide as the longest value and no wider, so that the file does not remember rows that have gone.
    return column.astype(f"S{max(1, int(np.strings.str_len(column).max()))}")


def _attributes(header: Header, rows: Columns) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **header.settings,
        "class_names": list(header.class_names),
        "feature_version": header.feature_version,
        "fingerprint": fingerprint(header.settings, header.feature_version, header.class_names, header.dtype, rows),
        "versions": json.dumps(dict(header.versions), sort_keys=True),
        # HDF5 keeps text as UTF-8 only.
        "data_dir": header.data_dir if is_utf8(header.data_dir) else "",
        "max_per_class": header.max_per_class,
        "tables": json.dumps(header.tables),
        "label_column": header.label_column,
        "widen": header.widen,
        "label_length": header.label_length,
        "background": header.background,
    }


def _seal(file: Path, n_rows: int, dtype: np.dtype[Any], arrays: Columns, attributes: dict[str, Any]) -> None:
    """Write the HDF5 structure around rows that lie at ALIGNMENT; X itself is not touched."""
    with file.open("r+b", buffering=0) as rows, _AroundRows(rows) as raw:
        # The v110 format has checksums in its structures, which the earliest has not.
        options = {"libver": "v110", "alignment_threshold": ALIGNMENT // 2, "alignment_interval": ALIGNMENT}
        with signals_held(), h5py.File(raw, "w", **options) as h5:
            offset = _allocate(h5, "X", (n_rows, *ROW_SHAPE), dtype).get_offset()
            if offset != ALIGNMENT:
                raise CacheError(
                    f"HDF5 put X at byte {offset}, not at {ALIGNMENT}; please report this with its version"
                )
            for name, array in arrays.items():
                dataset = _allocate(h5, name, array.shape, array.dtype)
                if array.size:
                    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array), dataset.get_type())
            h5.attrs.update(attributes)
        if raw.error is not None:
            raise raw.error
        if raw.head_end > SEAL_OFFSET:
            raise CacheError("HDF5 left no room for the seal; please report this with the version of h5py")
        os.ftruncate(rows.fileno(), raw.end)
        x_end = ALIGNMENT + n_rows * int(np.prod(ROW_SHAPE)) * dtype.itemsize
        write_all(rows.fileno(), seal(rows.fileno(), x_end, raw.end), SEAL_OFFSET)
        os.fsync(rows.fileno())


class _AroundRows(io.RawIOBase):
    """A file that HDF5 takes for empty, and so makes anew, although the rows are in it already."""

    def __init__(self, rows: io.FileIO) -> None:
        self._rows = rows
        self.end = self.head_end = self._position = 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.end)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._rows.fileno(), max(0, min(len(view), self.end - self._position)), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        # HDF5 gets over an error by writing on, and loses it; it is raised when HDF5 is done.
        view = memoryview(data).cast("B")
        try:
            if self.error is None:
                write_all(self._rows.fileno(), view, self._position)
        except OSError as error:
            self.error = error
        self._position += len(view)
        if self._position <= ALIGNMENT:
            self.head_end = max(self.head_end, self._position)
        self.end = max(self.end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        # The file itself keeps its length until all is written: HDF5 truncates also when it gives up.
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

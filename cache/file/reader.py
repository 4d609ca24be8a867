"""Cache: a cache that is open. open_cache(): check that a file is a whole and well-formed cache, then map it."""

import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, CUT_SHORT, REJECTED, Columns, Rejected
from cache.file.container import is_sealed, mapped, open_hdf5
from cache.file.header import Header, format_version_of, lacking
from cache.file.settings import Setting
from cache.file.validate import check_arrays
from cache.shared.errors import CacheError, DamagedCache, MissingCache, UserError
from cache.shared.files import LFS_REMEDY, Stamp, as_path, is_lfs_pointer, open_regular, stamp_of
from cache.shared.text import human_count
from cache.shared.types import Rows

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False, repr=False)
class Cache:
    """An open cache; every array is mapped read-only from the file and takes no memory until it is read.

    It reads as a sequence of (x, y): `len(cache)`, `cache[7]`, `cache[10:20]`, `cache[[3, 1]]` give arrays in memory. A
    pickle of it holds the path and the fingerprint; where it is loaded, that file is opened again.
    """

    file: Path  # the path under which it was opened
    X: npt.NDArray[np.floating]  # normalised mel spectrograms in [0, 1], shape (N, 128, 128, 1), float32 or float16
    y: npt.NDArray[np.float32]  # one-hot labels, shape (N, n_classes), float32
    # A value for each row, shape (N,), by the fields of `cache.file.columns.Row`; texts are UTF-8 bytes.
    columns: Columns
    rejected: Columns  # a value for each clip that could not be used, by the names in `cache.file.columns.REJECTED`
    header: Header  # the properties that all rows share, and how the cache was asked for
    stamp: Stamp  # the identity of the file when it was opened

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Any) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float32]]:
        """Return X and y of a row or of several, as NumPy indexes the first axis of an array; both are copies."""
        x, y = np.array(self.X[rows]), np.array(self.y[rows])
        return x, y

    def __repr__(self) -> str:
        rows = f"{len(self)} rows of " if len(self) > self.n_clips else ""
        n = len(self.class_names)
        what = f"{rows}{human_count(self.n_clips, 'clip')} of {n} class{'' if n == 1 else 'es'}"
        return f"<Cache {str(self.file)!r}: {what}, {self.header.dtype}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (str(self.file.absolute()), self.fingerprint)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; the position is the label index."""
        return self.header.class_names

    @property
    def settings(self) -> dict[str, Setting]:
        """The feature settings, by the names in `cache.file.settings.SETTINGS`."""
        return self.header.settings.as_dict()

    @property
    def feature_version(self) -> int:
        """Version of the code that computed X."""
        return self.header.feature_version

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that name the content."""
        return self.header.fingerprint

    @property
    def data_folder(self) -> str:
        """DATA as an absolute path; if it is not where the file says, it is looked for from a link to the file."""
        return self._from_here(self.header.data_dir)

    @property
    def table_paths(self) -> list[Path]:
        """The tables of labels, and folders of them, as absolute paths, found as DATA is."""
        return [Path(self._from_here(path)) for path in self.header.tables]

    def _from_here(self, relative: str) -> str:
        # The inverse of os.path.relpath(), which made the paths.
        homes = (os.path.realpath(self.file), os.path.abspath(self.file))  # noqa: PTH100
        paths = [os.path.abspath(f"{os.path.dirname(home)}/{relative}") for home in homes]  # noqa: PTH100, PTH120
        return next((path for path in paths if os.path.exists(path)), paths[0])  # noqa: PTH110

    @cached_property
    def labels(self) -> Rows:
        """Label index of every row, shape (N,), read-only."""
        return _read_only(self.y.argmax(axis=1))

    @property
    def found_in(self) -> Rows:
        """Label index of every row's folder or table, before corrections, shape (N,)."""
        corrected = self.columns["corrected"]
        return np.where(corrected > 0, corrected - 1, self.labels)

    @property
    def n_per_class(self) -> dict[str, int]:
        """How many rows each class has, in the order of the label index."""
        return dict(zip(self.class_names, self.y.sum(axis=0, dtype=int).tolist(), strict=True))

    @property
    def n_clips_per_class(self) -> dict[str, int]:
        """How many clips each class has, in the order of the label index."""
        return dict(zip(self.class_names, self.y[self.first_rows].sum(axis=0, dtype=int).tolist(), strict=True))

    @property
    def paths(self) -> list[str]:
        """Path of every row, relative to DATA: that of a clip, or of a window of one."""
        return _decoded(self.columns["path"])

    @cached_property
    def first_rows(self) -> Rows:
        """The first row of every clip, shape (n_clips,), read-only; the others follow it."""
        clip = self.columns["clip"]
        goes_on = np.append(False, (clip[1:] == clip[:-1]) & (clip[1:] != b""))
        return _read_only(np.flatnonzero(~goes_on))

    @cached_property
    def clips(self) -> Rows:
        """Index of every row's clip, shape (N,), read-only: clips are numbered in the order of their rows."""
        return _read_only(np.searchsorted(self.first_rows, np.arange(len(self)), "right") - 1)

    @property
    def clip_labels(self) -> Rows:
        """Label index of every clip, shape (n_clips,)."""
        return self.labels[self.first_rows]

    @property
    def n_clips(self) -> int:
        """How many clips have rows."""
        return len(self.first_rows)

    @property
    def clip_paths(self) -> list[str]:
        """Path of every clip that has rows, relative to DATA."""
        return self._clip_paths(self.first_rows)

    def _clip_paths(self, rows: Any) -> list[str]:
        clip, path = (self.columns[name][rows] for name in ("clip", "path"))
        return _decoded(np.where(clip == b"", path, clip))

    @property
    def clip_sha256(self) -> list[str]:
        """Digest of every clip that has rows, in hexadecimal."""
        return _decoded(self.columns["sha256"][self.first_rows])

    @property
    def clip_durations(self) -> npt.NDArray[np.float64]:
        """Seconds of every clip that has rows, shape (n_clips,)."""
        of_clip, of_row = (self.columns[name][self.first_rows] for name in ("clip_duration", "duration"))
        return np.where(of_clip > 0, of_clip, of_row)

    @property
    def rejected_clips(self) -> list[Rejected]:
        """Every clip that could not be used."""
        columns = [
            _decoded(column) if column.dtype.kind == "S" else column.tolist() for column in self.rejected.values()
        ]
        return [Rejected(*clip) for clip in zip(*columns, strict=True)]

    @property
    def rejections(self) -> list[tuple[str, str]]:
        """(path, reason) of every clip that could not be used."""
        return [(clip.path, clip.reason) for clip in self.rejected_clips]

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """(path, remark) of every clip that has rows and a remark."""
        rows = np.flatnonzero(self.columns["remark"] != b"")
        return list(zip(self._clip_paths(rows), _decoded(self.columns["remark"][rows]), strict=True))

    @property
    def row_seconds(self) -> float:
        """Seconds that a row shows."""
        return self.header.settings.row_seconds

    @property
    def is_longer(self) -> npt.NDArray[np.bool_]:
        """Whether a clip is longer than a row shows, shape (n_clips,)."""
        # A window is a whole number of samples.
        return np.asarray(self.clip_durations > self.row_seconds + 0.5 / self.columns["sr"][self.first_rows])

    @property
    def n_longer(self) -> int:
        """How many clips are longer than a row shows."""
        return int(np.count_nonzero(self.is_longer))

    @property
    def n_cut_short(self) -> int:
        """How many clips are shorter than their header states."""
        return sum(remark.startswith(CUT_SHORT) for _, remark in self.remarks)

    @property
    def silent(self) -> list[str]:
        """Path of every clip whose row is all zeros, by the crc32 of the row."""
        zeros = zlib.crc32(bytes(self.X.nbytes // len(self)))
        return _decoded(self.columns["path"][self.columns["crc32"] == zeros])

    @property
    def n_corrected(self) -> int:
        """How many clips have another class than their folder or table says, because reviewers gave them one."""
        return int(np.count_nonzero(self.columns["corrected"][self.first_rows]))

    @property
    def conflicts(self) -> list[list[str]]:
        """Paths of clips that have the same content and not the same class, a list for each content."""
        return [self._clip_paths(rows) for rows in self._repeats if len({*self.labels[rows]}) > 1]

    @property
    def duplicates(self) -> list[list[str]]:
        """Paths of clips that have the same content and the same class, a list for each content."""
        return [self._clip_paths(rows) for rows in self._repeats if len({*self.labels[rows]}) == 1]

    @property
    def n_duplicates(self) -> int:
        """How many clips repeat an earlier clip of their own class."""
        return sum(len(rows) - len({*self.labels[rows]}) for rows in self._repeats)

    @cached_property
    def _repeats(self) -> list[list[int]]:
        """The first rows of clips that share their content with others, a list for each content, in order."""
        first = self.first_rows
        _, which, counts = np.unique(self.columns["sha256"][first], return_inverse=True, return_counts=True)
        rows_of: dict[int, list[int]] = {}
        for clip in np.flatnonzero(counts[which] > 1).tolist():
            rows_of.setdefault(int(which[clip]), []).append(int(first[clip]))
        return list(rows_of.values())


def _read_only(rows: Rows) -> Rows:
    rows.flags.writeable = False
    return rows


def _decoded(texts: npt.NDArray[np.bytes_]) -> list[str]:
    return [text.decode() for text in texts.tolist()]


def _open_again(file: str, fingerprint: str) -> Cache:
    """Open the cache of a pickle.

    Raises a CacheError if the file is not there any more, or holds another cache.
    """
    cache = open_cache(file)
    if cache.fingerprint != fingerprint:
        raise CacheError(f"{file} has changed since the cache was pickled; open it again with open_cache()")
    return cache


def open_cache(file: str | os.PathLike[str]) -> Cache:
    """Validate a cache and map it.

    X is not read: its rows come from the page cache as they are used. The file is opened once, so a cache that is
    published meanwhile is seen whole or not at all. The arrays stay valid after the file is replaced or deleted.

    Raises a MissingCache if there is no such file, a DamagedCache if it is a cache, or was to become one, but is not
    whole, and a CacheError if it is not a cache, has another format version, or cannot be read.
    """
    path = as_path(file, "cache")
    try:
        with open_regular(path) as raw:
            return _read(path, raw)
    except DamagedCache as error:
        raise DamagedCache(f"{path}: {error}; make it again with `python -m featurize`") from None
    except CacheError as error:
        raise CacheError(f"{path}: {error}") from None
    except UserError:
        raise CacheError(f"{path}: it is not a file; give the cache that `python -m featurize` wrote") from None
    except FileNotFoundError:
        raise MissingCache(f"{path}: there is no such cache; make it with `python -m featurize`") from None
    except OSError as error:
        raise CacheError(f"{path}: it cannot be read ({error.strerror})") from None


def _read(path: Path, raw: BinaryIO) -> Cache:
    signature = raw.read(len(_SIGNATURE))
    if signature and signature != _SIGNATURE:
        if is_lfs_pointer(os.pread(raw.fileno(), 100, 0)):
            raise CacheError(LFS_REMEDY)
        raise CacheError("it is not an HDF5 file; give the cache that `python -m featurize` wrote")
    # A file without a seal may be another program's.
    has_seal = is_sealed(raw.fileno())
    with open_hdf5(raw) as h5:
        missing = lacking(format_version_of(h5.attrs))
        wanted = {"X", "y", *COLUMNS, *REJECTED} - {*missing}
        if odd := {*h5} ^ wanted:
            raise DamagedCache(f"it has other datasets than this format, {min(odd)[:40]!r} is lacking or too much")
        if not has_seal:
            raise DamagedCache("its seal is gone, so its metadata cannot be trusted")
        arrays = {name: mapped(h5, name, raw) for name in wanted}
        X = arrays.pop("X")
        header = Header.read(h5.attrs, X.dtype.name)
    for name in missing.keys() & COLUMNS.keys():
        kind = "S1" if COLUMNS[name] == "S" else COLUMNS[name]
        arrays[name] = np.full(arrays["path"].shape, missing[name], kind)
    check_arrays(header, X, arrays)
    columns, rejected = ({name: arrays[name] for name in names} for names in (COLUMNS, REJECTED))
    return Cache(path, X, arrays["y"], columns, rejected, header, stamp_of(os.fstat(raw.fileno())))

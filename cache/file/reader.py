"""open_cache(): check that a file is a whole and well-formed cache, then map it."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from cache.file.layout import (
    ALIGNMENT,
    ATTRIBUTES,
    COLUMNS,
    FORMAT,
    FORMAT_VERSION,
    REJECTED,
    SEAL,
    SEAL_MAGIC,
    SEAL_OFFSET,
    VERSION_1_DIGEST,
    X_DTYPES,
    CacheError,
    Columns,
    DamagedCache,
    MissingCache,
    lacking,
    metadata_digest,
    seal,
)
from cache.file.settings import SETTINGS, Setting
from cache.file.validate import check_arrays, check_attributes
from cache.shared.errors import UserError
from cache.shared.files import LFS_REMEDY, is_lfs_pointer, open_regular

_REMEDY = "; make it anew with `python -m featurize`"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DATASETS = ("X", "y", *COLUMNS, *REJECTED)
_ATTRIBUTES = (*ATTRIBUTES, *SETTINGS)


@dataclass(frozen=True, eq=False)
class Cache:
    """An open cache; every array is mapped read-only from the file and costs no memory until it is read.

    Attributes
    ----------
    file
        Where it was opened.
    X
        Normalised mel spectrograms in [0, 1], shape (N, 128, 128, 1), float32 or float16.
    y
        One-hot labels, shape (N, n_classes), float32.
    columns
        A row a clip, shape (N,), by the names in `cache.file.layout.COLUMNS`; strings are UTF-8 bytes.
    rejected
        A row a clip that could not be used, by the names in `cache.file.layout.REJECTED`.
    class_names
        The position is the label index.
    settings
        The feature settings, by the names in `cache.file.settings.SETTINGS`.
    feature_version
        Version of the code that computed X.
    fingerprint
        64 hexadecimal digits naming the content.
    versions
        The libraries that made it.
    data_dir
        DATA as it was when the cache was written, relative to the cache's directory; "" if it has no name in UTF-8.
    max_per_class
        How many clips of each class the cache was asked for; 0 for all.
    format_version
        Of the file: what an earlier version does not record is empty or 0.
    tables
        The tables of labels it was asked for, and folders of them, relative to the cache's directory.
    label_column, widen, label_length, background
        How they are read, see the attributes in `cache.file.layout`.
    """

    file: Path
    X: npt.NDArray[np.floating]
    y: npt.NDArray[np.float32]
    columns: Columns
    rejected: Columns
    class_names: tuple[str, ...]
    settings: dict[str, Setting]
    feature_version: int
    fingerprint: str
    versions: dict[str, str]
    data_dir: str
    max_per_class: int = 0
    format_version: int = FORMAT_VERSION
    tables: tuple[str, ...] = ()
    label_column: str = ""
    widen: bool = False
    label_length: float = 0.0
    background: int = 0

    def __len__(self) -> int:
        return len(self.X)

    @property
    def data_folder(self) -> str:
        """DATA as an absolute path: looked for from where the file lies, and then from where a link to it does."""
        return self._from_here(self.data_dir)

    @property
    def table_paths(self) -> list[Path]:
        """The tables of labels and folders of them as absolute paths, looked for as DATA is."""
        return [Path(self._from_here(path)) for path in self.tables]

    def _from_here(self, relative: str) -> str:
        # The inverse of os.path.relpath(), by which they are recorded.
        homes = (os.path.realpath(self.file), os.path.abspath(self.file))  # noqa: PTH100
        paths = [os.path.abspath(f"{os.path.dirname(home)}/{relative}") for home in homes]  # noqa: PTH100, PTH120
        return next((path for path in paths if os.path.exists(path)), paths[0])  # noqa: PTH110

    @property
    def labels(self) -> npt.NDArray[np.intp]:
        """Label index of every row, shape (N,)."""
        labels: npt.NDArray[np.intp] = self.y.argmax(axis=1)
        return labels

    @property
    def n_per_class(self) -> dict[str, int]:
        """How many rows each class has, in the order of the label index."""
        return dict(zip(self.class_names, self.y.sum(axis=0, dtype=int).tolist(), strict=True))

    @property
    def paths(self) -> list[str]:
        """Path of every row's clip, relative to DATA."""
        return [path.decode() for path in self.columns["path"].tolist()]

    @property
    def rejections(self) -> list[tuple[str, str]]:
        """(path, reason) of every clip that could not be used."""
        pairs = zip(self.rejected["rejected_path"].tolist(), self.rejected["rejected_reason"].tolist(), strict=True)
        return [(path.decode(), reason.decode()) for path, reason in pairs]


def open_cache(file: str | os.PathLike[str]) -> Cache:
    """Validate a cache and map it.

    Nothing of X is read: its rows come from the page cache as they are used, whatever N. The file is opened once, so
    a cache that is published meanwhile is either seen whole or not at all.

    Parameters
    ----------
    file
        The HDF5 file that `python -m featurize` wrote.

    Returns
    -------
    Cache
        Its arrays stay valid after the file is replaced or unlinked.

    Raises
    ------
    MissingCache
        There is no such file.
    DamagedCache
        It is a cache, or was to be one, but not a whole one.
    CacheError
        It is something else, a cache of a newer format among them, or cannot be read.
    """
    path = Path(file)
    try:
        with open_regular(path) as raw:
            return _read(path, raw)
    except CacheError as error:
        raise type(error)(f"{path}: {error}") from None
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
    is_sealed = _is_sealed(raw)
    with _hdf5(raw) as h5:
        attributes = _attributes(h5)
        version = attributes["format_version"]
        wanted = [name for name in _DATASETS if name not in lacking(version)]
        if set(h5) != set(wanted):
            odd = min(set(h5) ^ set(wanted))[:40]
            raise DamagedCache(f"it has other datasets than this format, {odd!r} is lacking or too much")
        arrays = {name: _map(h5, name, raw) for name in wanted}
        X = arrays.pop("X")
        if version == 1:
            _check_digest(attributes, arrays)
        elif not is_sealed:
            raise DamagedCache("its seal is gone, so its metadata cannot be trusted")
        _complete(attributes, arrays, lacking(version))
        check_attributes(attributes)
        check_arrays(attributes, X, arrays)
    return Cache(
        file=path,
        X=X,
        y=arrays["y"],
        columns={name: arrays[name] for name in COLUMNS},
        rejected={name: arrays[name] for name in REJECTED},
        class_names=tuple(attributes["class_names"]),
        settings={name: attributes[name] for name in SETTINGS},
        feature_version=attributes["feature_version"],
        fingerprint=attributes["fingerprint"],
        versions=json.loads(attributes["versions"]),
        data_dir=attributes["data_dir"],
        max_per_class=attributes["max_per_class"],
        format_version=attributes["format_version"],
        tables=tuple(json.loads(attributes["tables"])),
        label_column=attributes["label_column"],
        widen=attributes["widen"],
        label_length=attributes["label_length"],
        background=attributes["background"],
    )


def _check_digest(attributes: dict[str, Any], arrays: Columns) -> None:
    if attributes.pop(VERSION_1_DIGEST) != metadata_digest(attributes, arrays):
        raise DamagedCache("its metadata does not match its checksum")


def _complete(attributes: dict[str, Any], arrays: Columns, missing: dict[str, object]) -> None:
    """Add what a cache of an earlier version does not record."""
    for name, value in missing.items():
        if name in _ATTRIBUTES:
            attributes[name] = value
        else:
            beside = "rejected_path" if name in REJECTED else "path"
            kind = {**COLUMNS, **REJECTED}[name]
            arrays[name] = np.full(arrays[beside].shape, value, "S1" if kind == "S" else kind)


def _is_sealed(raw: BinaryIO) -> bool:
    # A file without a seal may be another program's, or the first program's that wrote caches.
    file = raw.fileno()
    found = os.pread(file, SEAL.size, SEAL_OFFSET)
    if len(found) < SEAL.size or not found.startswith(SEAL_MAGIC):
        return False
    _, x_end, end, _ = SEAL.unpack(found)
    if end != os.fstat(file).st_size or not ALIGNMENT <= x_end <= end or seal(file, x_end, end) != found:
        raise DamagedCache("its structure or its metadata is not what was written")
    return True


@contextmanager
def _hdf5(raw: BinaryIO) -> Iterator[h5py.File]:
    # Through our own file object HDF5 takes no lock, and X is mapped from the very inode that was checked.
    try:
        with h5py.File(raw, "r") as h5:
            yield h5
    except DamagedCache as error:
        raise DamagedCache(f"{error}{_REMEDY}") from None
    except CacheError:
        raise
    # HDF5 and h5py answer damage with whatever exception the layer that met it raises.
    except Exception:
        raise DamagedCache(f"it is not a whole HDF5 file{_REMEDY}") from None


def _attributes(h5: h5py.File) -> dict[str, Any]:
    names = set(h5.attrs)
    if _value(h5, "format", names) != FORMAT:
        raise CacheError("it is an HDF5 file, but not a cache; give the one that `python -m featurize` wrote")
    version = _value(h5, "format_version", names)
    # Exactly, because True is an int too.
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise CacheError(
            f"it has format version {str(version)[:20]}, and this program reads versions 1 to {FORMAT_VERSION};"
            " use the program that made it, or make another cache with `python -m featurize`"
        )
    wanted = {*_ATTRIBUTES} - {*lacking(version)} | ({VERSION_1_DIGEST} if version == 1 else set())
    if odd := names ^ wanted:
        raise DamagedCache(f"it has other attributes than this format, {min(odd)[:40]!r} is lacking or too much")
    return {name: _value(h5, name, names) for name in wanted}


def _value(h5: h5py.File, name: str, names: set[str]) -> Any:
    """Return an attribute as the plain Python value that the writer was given."""
    if name not in names:
        return None
    value = h5.attrs[name]
    # numpy scalars and arrays have tolist().
    return value.tolist() if hasattr(value, "tolist") else value


def _map(h5: h5py.File, name: str, raw: BinaryIO) -> npt.NDArray[Any]:
    # A soft or external link, or storage outside of the file, could make us read any file: never followed.
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
    # HDF5 knows more types than numpy, such as floats of another exponent: what is mapped must be the plain one.
    kind = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    if not (fits and dataset.id.get_type().equal(h5py.h5t.py_create(kind, logical=True))):
        raise DamagedCache(f"{name!r} has the type {dtype}, which this format does not have there")
    return dtype

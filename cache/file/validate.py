"""Whether what a cache says agrees with itself: a checksum tells damage, not a file that was made to mislead."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.layout import COLUMNS, REJECTED, ROW_SHAPE, Columns, DamagedCache, fingerprint
from cache.file.settings import SETTINGS
from cache.shared.segment import segment_of
from cache.shared.tree import SUBSETS

_TYPES: dict[str, type] = dict.fromkeys(("fingerprint", "versions", "data_dir", "tables", "label_column"), str)
_COUNTS = ("max_per_class", "background")
_TYPES |= {"feature_version": int, "widen": bool, "label_length": float} | dict.fromkeys(_COUNTS, int)


def check_attributes(found: Mapping[str, Any]) -> None:
    """Check the type and, where not every value makes sense, the value of each root attribute.

    Raises
    ------
    DamagedCache
        One is not what the format says.
    """
    for name, kind in {**SETTINGS, **_TYPES}.items():
        value = found[name]
        # Exactly, because True is an int too.
        if type(value) is not kind or not _makes_sense(value):
            raise DamagedCache(f"its attribute {name!r} makes no sense")
    for name in (*_COUNTS, "label_length"):
        if found[name] < 0:
            raise DamagedCache(f"its attribute {name!r} makes no sense")
    names = found["class_names"]
    if not (isinstance(names, list) and names and all(isinstance(n, str) and is_folder_name(n) for n in names)):
        raise DamagedCache("its class names are not names of folders")
    if len(set(names)) < len(names):
        raise DamagedCache("it names a class twice")
    versions, tables = _from_json(found["versions"]), _from_json(found["tables"])
    if not (isinstance(versions, dict) and _are_texts(versions.values())):
        raise DamagedCache("its attribute 'versions' makes no sense")
    if not (isinstance(tables, list) and _are_texts(tables) and not any("\0" in path for path in tables)):
        raise DamagedCache("its attribute 'tables' makes no sense")


def _from_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) and _is_text(value) for value in values)


def is_folder_name(name: str) -> bool:
    """Whether a class name can be the name of a folder in DATA, and of nothing outside of it."""
    return _is_text(name) and bool(name) and name not in (".", "..") and not set("/\0").intersection(name)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _makes_sense(value: object) -> bool:
    return _is_text(value) if isinstance(value, str) else not isinstance(value, float) or math.isfinite(value)


def check_arrays(attributes: Mapping[str, Any], X: npt.NDArray[Any], arrays: Columns) -> None:
    """Check every dataset but the values of X.

    Parameters
    ----------
    attributes
        The root attributes, checked.
    X
        The rows; only their shape is looked at.
    arrays
        Every other dataset by name.

    Raises
    ------
    DamagedCache
        A shape or a value is not what the format says, or they do not agree with each other.
    """
    class_names = tuple(attributes["class_names"])
    _shapes(X, arrays, len(class_names))
    y = arrays["y"]
    if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
        raise DamagedCache("its labels are not one-hot")
    for name, kind in {**COLUMNS, **REJECTED}.items():
        if kind == "S" and not _is_utf8(arrays[name]):
            raise DamagedCache(f"{name!r} is not UTF-8")
    _paths(arrays["path"], arrays["end"] > 0, y.argmax(axis=1), class_names)
    _numbers(arrays)
    _segments(arrays)
    settings = {name: attributes[name] for name in SETTINGS}
    columns = {name: arrays[name] for name in ("y", *COLUMNS)}
    version, dtype = attributes["feature_version"], X.dtype.name
    if attributes["fingerprint"] != fingerprint(settings, version, class_names, dtype, columns):
        raise DamagedCache("its fingerprint is not that of its content")


def _shapes(X: npt.NDArray[Any], arrays: Columns, n_classes: int) -> None:
    n = len(X) if X.ndim else 0
    n_rejected = arrays["rejected_path"].size
    expected: dict[str, tuple[int, ...]] = {"y": (n, n_classes)}
    expected |= dict.fromkeys(COLUMNS, (n,)) | dict.fromkeys(REJECTED, (n_rejected,))
    if n == 0 or X.shape != (n, *ROW_SHAPE):
        raise DamagedCache(f"X has the shape {X.shape}, not (N, {', '.join(map(str, ROW_SHAPE))})")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise DamagedCache(f"{name!r} has the shape {arrays[name].shape}, not {shape}")


def _is_utf8(column: npt.NDArray[np.bytes_]) -> bool:
    # Nearly every column is ASCII, which a look at the bytes as a whole tells.
    if column.size == 0 or column.view(np.uint8).max() < 128:
        return True
    try:
        for value in column.tolist():
            value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _paths(
    paths: npt.NDArray[np.bytes_],
    is_segment: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.intp],
    class_names: tuple[str, ...],
) -> None:
    folders = np.array([name.encode() + b"/" for name in class_names], "S")[labels]
    # A recording may lie anywhere in DATA.
    beside = ~np.strings.startswith(paths, folders) & ~is_segment
    beside |= np.strings.startswith(paths, b"/")
    # What is in none of the class folders themselves may be on a side of a split.
    for i in np.flatnonzero(beside).tolist():
        side, _, rest = paths[i].partition(b"/")
        beside[i] = side.decode().lower() not in SUBSETS or not rest.startswith(folders[i])
    inside = np.strings.add(np.strings.add(b"/", paths), b"/")
    for step in (b"//", b"/./", b"/../"):
        beside |= np.strings.find(inside, step) >= 0
    if beside.any():
        raise DamagedCache("it has a path that is not a file in the folder of its class")
    if len(set(paths.tolist())) < len(paths):
        raise DamagedCache("it has a path twice")


def _segments(arrays: Columns) -> None:
    start, end = arrays["start"], arrays["end"]
    # Only these can be the path of a segment.
    marked = np.strings.find(arrays["path"], b"#") >= 0
    for i in np.flatnonzero(marked | (start != 0) | (end != 0)).tolist():
        found = segment_of(arrays["path"][i].decode())
        times = float(start[i]), float(end[i])
        if not (times == (0, 0) if found is None else times == found[1:3] and found.start < found.end):
            raise DamagedCache("it has a segment that is not the one its path names")


def _numbers(arrays: Columns) -> None:
    duration = arrays["duration"]
    sensible = {
        "size": arrays["size"] > 0,
        "n_frames": arrays["n_frames"] > 0,
        "duration": np.isfinite(duration) & (duration > 0),
        "sr": arrays["sr"] > 0,
    }
    for name, fits in sensible.items():
        if not fits.all():
            raise DamagedCache(f"{name!r} has a value that makes no sense")

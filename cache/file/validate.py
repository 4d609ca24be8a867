"""Checks of the columns of a cache: checksums find damage, these find a file that was made to mislead."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, REJECTED, ROW_SHAPE, Columns, fingerprint
from cache.file.header import Header
from cache.shared.errors import DamagedCache
from cache.shared.segment import segment_of
from cache.shared.tree import SUBSETS, subset_and_folder


def check_arrays(header: Header, X: npt.NDArray[Any], arrays: Columns) -> None:
    """Check every dataset, but of X only the shape.

    Raises a DamagedCache if a shape or a value is not what the format says, or contradicts another.
    """
    _shapes(X, arrays, len(header.class_names))
    y = arrays["y"]
    if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
        raise DamagedCache("its labels are not one-hot")
    for name, kind in {**COLUMNS, **REJECTED}.items():
        if kind == "S" and not _is_utf8(arrays[name]):
            raise DamagedCache(f"{name!r} is not UTF-8")
    _numbers(arrays)
    labels, corrected = y.argmax(axis=1), arrays["corrected"]
    if not ((corrected >= 0) & (corrected <= len(header.class_names)) & (corrected != labels + 1)).all():
        raise DamagedCache("'corrected' has a value that makes no sense")
    found_in = np.where(corrected > 0, corrected - 1, labels)
    clip = arrays["clip"]
    segment_of_clip = {one: segment_of(one.decode()) for one in {*clip.tolist()} - {b""}}
    is_segment = arrays["end"] > 0
    is_segment[clip != b""] = [segment_of_clip[one] is not None for one in clip[clip != b""].tolist()]
    _paths(np.where(clip == b"", arrays["path"], clip), is_segment, found_in, [*header.members.values()])
    files = {one: one.decode() if found is None else found.recording for one, found in segment_of_clip.items()}
    _segments(arrays, files)
    _windows(arrays, labels)
    if header.fingerprint != fingerprint(header, arrays):
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
    # Nearly every column is ASCII, which its largest byte shows.
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
    members: Sequence[tuple[str, ...]],
) -> None:
    # A recording may lie anywhere in DATA.
    beside = ~is_segment
    for rank in range(max(map(len, members))):
        folders = np.array([names[min(rank, len(names) - 1)].encode() + b"/" for names in members], "S")[labels]
        beside &= ~np.strings.startswith(paths, folders)
    beside |= np.strings.startswith(paths, b"/")
    # A path that begins with no class folder may begin with train, val or test.
    for i in np.flatnonzero(beside).tolist():
        subset, _ = subset_and_folder(paths[i].decode(), members[labels[i]])
        beside[i] = subset.lower() not in SUBSETS or paths[i].count(b"/") < 2
    inside = np.strings.add(np.strings.add(b"/", paths), b"/")
    for step in (b"//", b"/./", b"/../"):
        beside |= np.strings.find(inside, step) >= 0
    if beside.any():
        raise DamagedCache("it has a path that is not a file in the folder of its class")


def _segments(arrays: Columns, files: Mapping[bytes, str]) -> None:
    """Check segments and windows by their paths; `files` has the files of clips that have windows."""
    # A path without "#" cannot be that of a segment.
    marked = np.strings.find(arrays["path"], b"#") >= 0
    marked |= (arrays["start"] != 0) | (arrays["end"] != 0)
    columns = (arrays[name][marked].tolist() for name in ("path", "start", "end", "clip"))
    for path, *times, clip in zip(*columns, strict=True):
        found = segment_of(path.decode())
        if not (times == [0, 0] if found is None else times == [*found[1:3]] and found.start < found.end):
            raise DamagedCache("it has a segment that is not the one its path names")
        if found is not None and found.recording != files.get(clip, found.recording):
            raise DamagedCache("it has a window that lies in another file than its clip")


def _windows(arrays: Columns, labels: npt.NDArray[np.intp]) -> None:
    """Check the rows that are windows of a clip: together, in order, alike, each once."""
    clip, path = arrays["clip"], arrays["path"]
    is_window = clip != b""
    goes_on = (clip[1:] == clip[:-1]) & is_window[1:]
    odd = (is_window & (arrays["end"] == 0)) | (is_window != (arrays["clip_duration"] > 0)) | (clip == path)
    for column in (labels, arrays["corrected"], arrays["sha256"], arrays["clip_duration"]):
        odd[1:] |= goes_on & (column[1:] != column[:-1])
    odd[1:] |= goes_on & (arrays["start"][1:] <= arrays["start"][:-1])
    if odd.any():
        raise DamagedCache("it has a window that does not agree with its clip")
    of_clips = [*path[~is_window].tolist(), *clip[np.append(True, ~goes_on) & is_window].tolist()]
    if len({*of_clips}) < len(of_clips):
        raise DamagedCache("it has a path twice")


def _numbers(arrays: Columns) -> None:
    duration = arrays["duration"]
    sensible = {
        "size": arrays["size"] > 0,
        "n_frames": arrays["n_frames"] > 0,
        "duration": np.isfinite(duration) & (duration > 0),
        "sr": arrays["sr"] > 0,
        "clip_duration": np.isfinite(arrays["clip_duration"]) & (arrays["clip_duration"] >= 0),
    }
    for name, fits in sensible.items():
        if not fits.all():
            raise DamagedCache(f"{name!r} has a value that makes no sense")

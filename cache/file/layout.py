"""The file format, written down once: what the datasets and the root attributes are called, hold and mean."""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.settings import Setting
from cache.shared.errors import UserError

FORMAT = "melcache"
FORMAT_VERSION = 3

# X starts on a multiple of this: rows stay aligned to the file system's blocks, so that a file
# system which shares blocks can share whole rows between the old cache and the new one.
ALIGNMENT = 65536

# The last bytes before X hold a seal: magic, where X ends, where the file ends, sha256 of all that is not X. It is
# checked before HDF5 sees the file, which may loop for ever over a damaged structure.
SEAL = struct.Struct("<8sQQ32s")
SEAL_MAGIC = b"melseal1"
SEAL_OFFSET = ALIGNMENT - 64
_SEAL_BLOCK = 1 << 20

N_MELS = 128
N_FRAMES = 128
ROW_SHAPE = (N_MELS, N_FRAMES, 1)
X_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

# One row a clip, in the order of X. "S" columns hold UTF-8 of whatever fixed width the longest value needs.
COLUMNS: dict[str, str] = {
    "path": "S",  # relative to DATA, with "/"; of a segment see cache.shared.segment
    "size": "<i8",  # bytes of the audio file
    "mtime_ns": "<i8",  # its modification time
    "sha256": "S",  # hex digest of its content; of a segment see cache.shared.segment
    "n_frames": "<i8",  # frames of the spectrogram before crop or pad
    "duration": "<f8",  # seconds
    "sr": "<i4",  # the file's own sample rate in Hz, before resampling
    "format": "S",  # container and encoding, such as WAV/PCM_16
    "crc32": "<u4",  # zlib.crc32 of the row's bytes in X
    "remark": "S",  # what is odd about the clip, in words; "" for nothing
    "inode": "<u8",  # the file's number in its file system; 0 if it is not known
    "start": "<f8",  # of a segment of a recording, seconds within it; 0 of a file that is a clip as a whole
    "end": "<f8",  # its end; 0 of a file that is a clip as a whole
}

# How the remark of a clip begins that is shorter than its header states, and what is said of one whose sound is mostly
# too high for the features.
CUT_SHORT = "cut short"
ABOVE = "of its energy is above"

# One row a clip that could not be used, so that a known bad file is not decoded again until it changes.
REJECTED: dict[str, str] = {
    "rejected_path": "S",
    "rejected_size": "<i8",
    "rejected_mtime_ns": "<i8",
    "rejected_reason": "S",
    "rejected_inode": "<u8",
}

# The root attributes besides the feature settings, `cache.file.settings.SETTINGS`.
ATTRIBUTES = (
    "format",  # FORMAT
    "format_version",  # FORMAT_VERSION
    "class_names",  # strings; the position is the label index
    "feature_version",  # version of the code that computes the features
    "fingerprint",  # see fingerprint()
    "versions",  # JSON object: library -> version
    "data_dir",  # DATA, relative to the directory of the cache; "" if it has no name in UTF-8
    "max_per_class",  # how many clips of each class it was asked for; 0 for all
    "tables",  # JSON array: tables of labels and folders of them, relative to the directory of the cache
    "label_column",  # which column holds the label; "" for the usual ones
    "widen",  # whether short labels are widened to the median
    "label_length",  # that of segments that are widened or without a label, seconds; 0 if there are none
    "background",  # how many segments without a label are taken of each labelled recording
)

# What came with a version, columns, attributes and feature settings, with what a clip or a cache of an earlier one has
# instead; and the attribute that version 1 has in place of a seal.
SINCE: dict[int, dict[str, object]] = {
    2: {"remark": b"", "inode": 0, "rejected_inode": 0, "max_per_class": 0},
    3: {
        "start": 0.0,
        "end": 0.0,
        "tables": "[]",
        "label_column": "",
        "widen": False,
        "label_length": 0.0,
        "background": 0,
    },
}
VERSION_1_DIGEST = "metadata_sha256"

Columns = dict[str, npt.NDArray[Any]]


class CacheError(UserError):
    """A cache that cannot be used, or cannot be written; the message is one line for the user."""


class MissingCache(CacheError):
    """There is no file of that name."""


class DamagedCache(CacheError):
    """A file that is a cache, or was to be one, but cannot be trusted."""


def fingerprint(
    settings: Mapping[str, Setting], feature_version: int, class_names: tuple[str, ...], dtype: str, columns: Columns
) -> str:
    """Return the sha256 that names a cache's content.

    It covers the settings, the feature-code version, the classes, the dtype of X, and of every row the path, the
    content of the clip and the bytes of its features; not where the cache lies nor when its clips were touched. The
    class of a segment is not in its path, so it is covered, too. A setting that came after version 1 counts only where
    it is another than earlier caches have, so that theirs stay what they were.

    Parameters
    ----------
    columns
        Those of COLUMNS, and `y`.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    before = lacking(1)
    head = {
        "settings": {name: value for name, value in settings.items() if name not in before or before[name] != value},
        "feature_version": feature_version,
        "class_names": list(class_names),
        "dtype": dtype,
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    digest.update(b"\0".join(columns["path"].tolist()))
    digest.update(b"\0".join(columns["sha256"].tolist()))
    digest.update(np.ascontiguousarray(columns["crc32"], "<u4").tobytes())
    if (segments := columns["end"] > 0).any():
        digest.update(columns["y"][segments].argmax(axis=1).astype("<i8").tobytes())
    return digest.hexdigest()


def lacking(version: int) -> dict[str, object]:
    """Return what a file of a format version lacks, with what a clip or a cache has instead."""
    return {name: value for since, added in SINCE.items() if since > version for name, value in added.items()}


def seal(file: int, x_end: int, end: int) -> bytes:
    """Return the seal of a file whose X lies from ALIGNMENT to `x_end`, and which ends at `end`."""
    digest = hashlib.sha256(os.pread(file, SEAL_OFFSET, 0))
    for start in range(x_end, end, _SEAL_BLOCK):
        digest.update(os.pread(file, min(_SEAL_BLOCK, end - start), start))
    return SEAL.pack(SEAL_MAGIC, x_end, end, digest.digest())


def metadata_digest(attributes: Mapping[str, object], arrays: Columns) -> str:
    """Return the sha256 over everything in a file of version 1 but X; since version 2 the seal does its work.

    Parameters
    ----------
    attributes
        The root attributes as Python values, without the digest.
    arrays
        Every dataset but X, by name.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(dict(attributes), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

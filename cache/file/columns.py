"""Columns: the entries of the clips in a cache; every dataset but X and y is defined here, once."""

import hashlib
import json
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np
import numpy.typing as npt

from cache.file.header import Header, lacking

# Mel bands, frames, channel.
ROW_SHAPE = (128, 128, 1)
X_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}

Columns = dict[str, npt.NDArray[Any]]

# How a field is stored: "S" is UTF-8 of whatever fixed width the longest value needs. The number is how many bytes of
# a text a run keeps in memory; for a format, libsndfile's longest is half of that.
_Text = Annotated[str, "S"]
_Text32 = Annotated[str, "S", 32]
_Text64 = Annotated[str, "S", 64]
_Text128 = Annotated[str, "S", 128]
_Int32 = Annotated[int, "<i4"]
_Int64 = Annotated[int, "<i8"]
_UInt32 = Annotated[int, "<u4"]
_UInt64 = Annotated[int, "<u8"]
_Float64 = Annotated[float, "<f8"]


class Row(NamedTuple):
    """The entry of one row; each field is a dataset of the same name, with a value for each row of X.

    A row shows a clip as a whole, or one window of a long one. Rows of one clip follow each other, and share its
    `sha256`, label and correction.
    """

    path: _Text  # relative to DATA, with "/"; of a segment or a window see cache.shared.segment
    size: _Int64  # bytes of the audio file
    mtime_ns: _Int64  # its modification time
    sha256: _Text64  # hex digest of the clip's content; of a segment see cache.shared.segment
    n_frames: _Int64  # frames of the spectrogram before crop or pad
    duration: _Float64  # seconds of the clip, or of the window
    sr: _Int32  # the file's own sample rate in Hz, before resampling
    format: _Text32  # container and encoding, such as WAV/PCM_16
    crc32: _UInt32  # zlib.crc32 of the row's bytes in X
    remark: _Text128 = ""  # what is odd about the clip, in words, in its first row; "" for nothing
    inode: _UInt64 = 0  # the file's number in its file system; 0 if it is not known
    start: _Float64 = 0.0  # of a segment or a window, seconds within its file; 0 of a file that is a row as a whole
    end: _Float64 = 0.0  # its end; 0 of a file that is a row as a whole
    corrected: _Int32 = 0  # 1 + the label index of its folder or table if a correction gives another class, else 0
    clip: _Text = ""  # path of the clip that the row is one window of; "" where the row is the whole clip
    clip_duration: _Float64 = 0.0  # seconds of that clip; 0 where the row is the whole clip


class Rejected(NamedTuple):
    """A clip that could not be used, so that a known bad file is not decoded again until it changes.

    Each field is a dataset of the same name behind "rejected_". A size of -1 never matches a file, so such a clip is
    tried again.
    """

    path: _Text
    size: _Int64
    mtime_ns: _Int64
    reason: _Text
    inode: _UInt64 = 0


def _kinds(row: type[tuple[Any, ...]], prefix: str = "") -> dict[str, str]:
    hints = get_type_hints(row, include_extras=True)
    return {prefix + name: hint.__metadata__[0] for name, hint in hints.items()}


# How each dataset but X and y is stored, by its name.
COLUMNS: dict[str, str] = _kinds(Row)
REJECTED: dict[str, str] = _kinds(Rejected, "rejected_")
# How many bytes of a text a run keeps, by column.
WIDTHS: dict[str, int] = {
    name: hint.__metadata__[1]
    for name, hint in get_type_hints(Row, include_extras=True).items()
    if len(hint.__metadata__) > 1
}

# How the remark of a clip begins that is shorter than its header states, and what is said of one whose sound is mostly
# too high for the features.
CUT_SHORT = "cut short"
ABOVE = "of its energy is above"


def fingerprint(header: Header, columns: Columns) -> str:
    """Return the sha256 that names a cache's content, 64 hexadecimal digits, from its COLUMNS and `y`.

    It covers the settings, the version of the feature code, the classes, the element type of X, and of every row the
    path, the content of the clip and the bytes of its features; not where the cache lies, and not when its clips were
    touched. The class of a segment or of a corrected clip is not in its path, so it is covered, and so are the members
    of classes. A setting that came after the first version counts only where its value differs from that of earlier
    caches, whose fingerprints stay what they were.
    """
    before = lacking(0)
    settings = header.settings.as_dict().items()
    head = {
        "settings": {name: value for name, value in settings if name not in before or before[name] != value},
        "feature_version": header.feature_version,
        "class_names": list(header.class_names),
        "dtype": header.dtype,
    }
    if header.class_members:
        head["class_members"] = header.class_members
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    digest.update(b"\0".join(columns["path"].tolist()))
    digest.update(b"\0".join(columns["sha256"].tolist()))
    digest.update(np.ascontiguousarray(columns["crc32"], "<u4").tobytes())
    if (not_by_path := (columns["end"] > 0) | (columns["corrected"] > 0)).any():
        digest.update(columns["y"][not_by_path].argmax(axis=1).astype("<i8").tobytes())
    return digest.hexdigest()

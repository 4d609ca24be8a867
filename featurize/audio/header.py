"""Headers: how long they say the sound is, where an MP3 begins, and a view of a file with its header put right."""

import io
import os
import re
import struct
from typing import NamedTuple

# What programs put down that do not know the length yet, as to a pipe: all there is room for, or a little less (sox
# 2 GiB less a page, ffmpeg and others 4 GiB).
_NO_LENGTH = (range((1 << 31) - (1 << 16), (1 << 31) + 1), range((1 << 32) - (1 << 16), (1 << 32) + 1))
_MAX_CHUNKS = 1000

# By what a file begins with, at two places: where its chunks start, how name and size of one are read, which one holds
# the samples, and how many bytes before the samples count.
_CHUNKED: dict[tuple[bytes, bytes], tuple[int, str, bytes, int]] = {
    (b"RIFF", b"WAVE"): (12, "<4sI", b"data", 0),
    (b"RIFX", b"WAVE"): (12, ">4sI", b"data", 0),
    (b"RF64", b"WAVE"): (12, "<4sI", b"data", 0),
    (b"FORM", b"AIFF"): (12, ">4sI", b"SSND", 8),
    (b"FORM", b"AIFC"): (12, ">4sI", b"SSND", 8),
    (b"FORM", b"8SVX"): (12, ">4sI", b"BODY", 0),
    (b"FORM", b"16SV"): (12, ">4sI", b"BODY", 0),
    (b"riff", b"wave"): (40, "<4s12xQ", b"data", 0),
    (b"caff", b"desc"): (8, ">4sQ", b"data", 4),
}

# A WMA begins so, and gives the size of the file in the object that this names.
_ASF, _ASF_PROPERTIES = b"\x30\x26\xb2\x75", bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

# How far into a file an MP3 may begin, and how many frames in a row make one.
_JUNK_BYTES = 1 << 18
_FRAMES_IN_A_ROW = 3
_LAYER_3_KBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class View(io.RawIOBase):
    """A file from `start` on, read by a position of its own, with its first bytes replaced by `head`."""

    def __init__(self, file: int, size: int, head: bytes = b"") -> None:
        self._file, self._size, self._head, self._at = file, size, head, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; the end of the file is as far as it goes."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def read(self, n: int = -1) -> bytes:
        """Read up to so many bytes."""
        n = self._size - self._at if n < 0 else min(n, self._size - self._at)
        data = self._head[self._at : self._at + n] or os.pread(self._file, n, self._at)
        self._at += len(data)
        return data

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into a buffer and return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


class Body(NamedTuple):
    """The samples of a file: where they start, how many bytes the header says they are, and how many there are.

    `head` is the header with true sizes, where its own cannot be: 0, or smaller than what follows.
    """

    start: int
    n_stated: int
    n_present: int
    head: bytes = b""


def body_of(file: int, size: int) -> Body | None:
    """Find the samples in a WAV, AIFF, AU, W64, CAF, 8SVX, AVI or WMA; None in others, or if no length is stated."""
    begin = os.pread(file, 28, 0)
    if begin[:4] == b".snd" and len(begin) >= 12:
        start, n_stated = struct.unpack_from(">II", begin, 4)
        return None if is_unknown(n_stated) or start >= size else Body(start, n_stated, size - start)
    if begin[:4] == b"RIFF" and begin[8:12] == b"AVI ":
        return _whole(8 + struct.unpack_from("<I", begin, 4)[0], size)
    if begin[:4] == _ASF:
        head = os.pread(file, _MAX_CHUNKS, 0)
        at = head.find(_ASF_PROPERTIES) + 40
        return _whole(struct.unpack_from("<Q", head, at)[0], size) if 40 <= at <= len(head) - 8 else None
    key = begin[:4], begin[24:28] if begin[:4] == b"riff" else begin[8:12]
    if key not in _CHUNKED:
        return None
    at, layout, wanted, n_before = _CHUNKED[key]
    long_size = 0
    for _ in range(_MAX_CHUNKS):
        # A damaged size leads further than a position can be.
        head = os.pread(file, struct.calcsize(layout), at) if at < size else b""
        if len(head) < struct.calcsize(layout):
            return None
        name, n_bytes = struct.unpack(layout, head)
        start = at + len(head)
        if begin[:4] == b"riff":
            n_bytes = max(0, n_bytes - len(head))
        if name == b"ds64":
            (long_size,) = struct.unpack("<Q", os.pread(file, 8, start + 8).ljust(8, b"\0"))
        if name == wanted:
            n_bytes = long_size if begin[:4] == b"RF64" and n_bytes == 0xFFFFFFFF else n_bytes
            return _body(file, size, start, n_bytes, begin) if start + n_before < size else None
        at = start + n_bytes + (-n_bytes % 8 if begin[:4] == b"riff" else n_bytes % 2 if key[0] != b"caff" else 0)
    return None


def _whole(n_stated: int, size: int) -> Body | None:
    """Take the whole file for the samples, where the header says how long it is."""
    return Body(0, n_stated, min(size, n_stated)) if 0 < n_stated < 1 << 62 and not is_unknown(n_stated) else None


def n_stated_of(n_read: int, n_samples: int, body: Body | None) -> int:
    """Return how many samples a header states, where a decoder that gave `n_read` goes by the size of the file."""
    if body and body.n_present < body.n_stated:
        return max(n_samples, round(n_read * body.n_stated / body.n_present))
    return n_samples


def _body(file: int, size: int, start: int, n_bytes: int, begin: bytes) -> Body | None:
    if n_bytes >= 1 << 63 or is_unknown(n_bytes):
        return None
    n_present = size - start
    (outer,) = struct.unpack_from("<I", begin, 4)
    # A recorder that lost power wrote no sizes, or those of its first moments; what follows is no chunk.
    if begin[:4] == b"RIFF" and 2 * n_bytes < n_present and outer + 8 < size and not _is_chunk(file, start + n_bytes):
        head = bytearray(os.pread(file, start, 0))
        struct.pack_into("<I", head, 4, min(size - 8, 0xFFFFFFFF))
        struct.pack_into("<I", head, start - 4, min(n_present, 0xFFFFFFFF))
        return Body(start, 0, n_present, bytes(head))
    return Body(start, n_bytes, min(n_bytes, n_present))


def is_unknown(n_bytes: int) -> bool:
    """Whether a size is one that programs put down before they know it."""
    return any(n_bytes in sizes for sizes in _NO_LENGTH)


def _is_chunk(file: int, at: int) -> bool:
    return re.fullmatch(rb"[A-Za-z][A-Za-z0-9 _]{3}", os.pread(file, 4, at + at % 2)) is not None


def first_frame(file: int, size: int) -> int | None:
    """Find where an MP3 begins, behind tags and whatever else may stand before its first frame.

    Returns
    -------
    int or None
        The position of the first of three Layer III frames in a row; None if there are none.
    """
    start = _after_tags(file, size)
    data = os.pread(file, _JUNK_BYTES, start)
    at = data.find(b"\xff")
    while at >= 0:
        if _frames_at(file, start + at):
            return start + at
        at = data.find(b"\xff", at + 1)
    return None


def n_stated_mp3(file: int, size: int) -> int:
    """Return how many samples an MP3 has by a first frame of Xing, LAME or Fraunhofer; 0 if it has no such frame.

    The encoder's delay and padding, up to three frames, count.
    """
    start = first_frame(file, size)
    head = os.pread(file, 64, start) if start is not None else b""
    for name, layout, where in ((b"Xing", ">4xII", 1), (b"Info", ">4xII", 1), (b"VBRI", ">14xI", 0)):
        at = head.find(name)
        if 0 < at <= len(head) - struct.calcsize(layout):
            fields = struct.unpack_from(layout, head, at)
            counts = name == b"VBRI" or fields[0] & 1
            return fields[where] * (1152 if head[1] & 0x08 else 576) if counts else 0
    return 0


def _after_tags(file: int, size: int) -> int:
    at = 0
    while at < size:
        head = os.pread(file, 10, at)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        n_bytes = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        if at + 10 + n_bytes >= size:
            # A size that cannot be true says nothing of where the tag ends.
            return at + 10
        at += 10 + n_bytes + (10 if head[5] & 0x10 else 0)
    return at


def _frames_at(file: int, at: int) -> bool:
    kind = None
    for _ in range(_FRAMES_IN_A_ROW):
        head = os.pread(file, 4, at)
        n_bytes = _frame_bytes(head)
        if not n_bytes or kind not in (None, (head[1] & 0xFE, head[2] & 0x0C)):
            return False
        kind = head[1] & 0xFE, head[2] & 0x0C
        at += n_bytes
    return True


def _frame_bytes(head: bytes) -> int:
    """Return how long a Layer III frame is, by its four bytes; 0 if they are none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _LAYER_3_KBITS[3 if version == 3 else 2][kbits - 1]
    return (144 if version == 3 else 72) * bits // _RATES[version][rate] + (head[2] >> 1 & 1)

"""Headers: the length that they state, where an MP3 begins, and a view of a file with its header mended."""

import io
import os
import re
import struct
from typing import NamedTuple

# Sizes that programs write before they know the true one, as to a pipe: the greatest that fits, or a little less (sox
# 2 GiB less a page, ffmpeg and others 4 GiB).
_UNKNOWN_SIZES = (range((1 << 31) - (1 << 16), (1 << 31) + 1), range((1 << 32) - (1 << 16), (1 << 32) + 1))
_MAX_CHUNKS = 1000


class _Chunks(NamedTuple):
    """How the chunks of a container lie in the file."""

    start: int  # where the first chunk starts
    head: struct.Struct  # name and size, at the beginning of each chunk
    samples: bytes  # name of the chunk with the samples
    n_before: int = 0  # bytes in that chunk before the samples
    alignment: int = 2  # a chunk is filled up to a multiple of so many bytes, which its size does not count
    n_head: int = 0  # bytes of the head that its size counts


_WAV = _Chunks(12, struct.Struct("<4sI"), b"data")
_AIFF = _Chunks(12, struct.Struct(">4sI"), b"SSND", n_before=8)
_SVX = _Chunks(12, struct.Struct(">4sI"), b"BODY")

# By the bytes 0 to 3 and 8 to 11 of the file, the kind of file and what it holds.
_CONTAINERS = {
    (b"RIFF", b"WAVE"): _WAV,
    (b"RF64", b"WAVE"): _WAV,
    (b"RIFX", b"WAVE"): _Chunks(12, struct.Struct(">4sI"), b"data"),
    (b"FORM", b"AIFF"): _AIFF,
    (b"FORM", b"AIFC"): _AIFF,
    (b"FORM", b"8SVX"): _SVX,
    (b"FORM", b"16SV"): _SVX,
    (b"caff", b"desc"): _Chunks(8, struct.Struct(">4sQ"), b"data", n_before=4, alignment=1),
    # The names in a W64 have 16 bytes, which these four begin; bytes 8 to 11 of the file still belong to the first.
    (b"riff", b"\xa5\xd6\x28\xdb"): _Chunks(40, struct.Struct("<4s12xQ"), b"data", alignment=8, n_head=24),
}

# The first bytes of a WMA, and the name of the object in which it states the size of the file.
_ASF, _ASF_PROPERTIES = b"\x30\x26\xb2\x75", bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEAD_BYTES = 1000

# How far into a file an MP3 may begin, and how many frames in a row make one.
_JUNK_BYTES = 1 << 18
_FRAMES_IN_A_ROW = 3
_LAYER_3_KBITS = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class View(io.RawIOBase):
    """A file that is read from a position of its own, with its first bytes replaced by `head`."""

    def __init__(self, file: int, size: int, head: bytes = b"") -> None:
        self._file, self._size, self._head, self._at = file, size, head, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; the end of the file is as far as it goes."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into a buffer and return how many bytes; the other ways to read are by this one."""
        view = memoryview(buffer).cast("B")
        n = min(len(view), self._size - self._at)
        data = self._head[self._at : self._at + n] or os.pread(self._file, n, self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class Body(NamedTuple):
    """The samples of a file: where they start, how many bytes the header states, and how many there are.

    `head` is the header with true sizes, if those in the file are 0 or smaller than what follows; else empty.
    """

    start: int
    n_stated: int
    n_present: int
    head: bytes = b""


def body_of(file: int, size: int) -> Body | None:
    """Find the samples in a WAV, AIFF, AU, W64, CAF, 8SVX, AVI or WMA; None in others, or if no length is stated."""
    begin = os.pread(file, 12, 0)
    kind, content = begin[:4], begin[8:]
    if chunks := _CONTAINERS.get((kind, content)):
        return _in_chunks(file, size, chunks)
    if kind == b".snd" and len(begin) >= 12:
        start, n_stated = struct.unpack_from(">II", begin, 4)
        return None if is_unknown(n_stated) or start >= size else Body(start, n_stated, size - start)
    if (kind, content) == (b"RIFF", b"AVI "):
        return _whole(8 + struct.unpack_from("<I", begin, 4)[0], size)
    if kind == _ASF:
        head = os.pread(file, _ASF_HEAD_BYTES, 0)
        at = head.find(_ASF_PROPERTIES) + 40
        return _whole(struct.unpack_from("<Q", head, at)[0], size) if 40 <= at <= len(head) - 8 else None
    return None


def _whole(n_stated: int, size: int) -> Body | None:
    """Return the whole file as the samples, for a header that states the size of the file."""
    return Body(0, n_stated, min(size, n_stated)) if 0 < n_stated < 1 << 62 and not is_unknown(n_stated) else None


def _in_chunks(file: int, size: int, chunks: _Chunks) -> Body | None:
    at, long_size = chunks.start, 0
    for _ in range(_MAX_CHUNKS):
        # A damaged size may lead further than a position can be.
        head = os.pread(file, chunks.head.size, at) if at < size else b""
        if len(head) < chunks.head.size:
            return None
        name, n_bytes = chunks.head.unpack(head)
        start, n_bytes = at + len(head), max(0, n_bytes - chunks.n_head)
        if name == b"ds64":  # of an RF64, for sizes that 32 bits do not hold
            (long_size,) = struct.unpack("<Q", os.pread(file, 8, start + 8).ljust(8, b"\0"))
        if name == chunks.samples:
            n_bytes = long_size if long_size and n_bytes == 0xFFFFFFFF else n_bytes
            return _body(file, size, start, n_bytes) if start + chunks.n_before < size else None
        at = start + n_bytes + -n_bytes % chunks.alignment
    return None


def _body(file: int, size: int, start: int, n_bytes: int) -> Body | None:
    if n_bytes >= 1 << 63 or is_unknown(n_bytes):
        return None
    n_present = size - start
    if 2 * n_bytes < n_present and (head := _mended(file, size, start, n_bytes)):
        return Body(start, 0, n_present, head)
    return Body(start, n_bytes, min(n_bytes, n_present))


def _mended(file: int, size: int, start: int, n_bytes: int) -> bytes:
    """Return the header of a WAV with true sizes if its sizes are 0 or those of its first moments; else nothing.

    A recorder that lost power leaves such a header. The bytes behind the stated ones are samples then, not a chunk.
    """
    head = bytearray(os.pread(file, start, 0))
    is_short = n_bytes == 0 or struct.unpack_from("<I", head, 4)[0] + 8 < size
    if head[:4] != b"RIFF" or not is_short or _is_chunk(file, start + n_bytes):
        return b""
    struct.pack_into("<I", head, 4, min(size - 8, 0xFFFFFFFF))
    struct.pack_into("<I", head, start - 4, min(size - start, 0xFFFFFFFF))
    return bytes(head)


def n_stated_of(n_read: int, n_samples: int, body: Body | None) -> int:
    """Return how many samples a header states, where a decoder that gave `n_read` goes by the size of the file."""
    if body and body.n_present < body.n_stated:
        return max(n_samples, round(n_read * body.n_stated / body.n_present))
    return n_samples


def is_unknown(n_bytes: int) -> bool:
    """Whether a size is one that programs write before they know the true one."""
    return any(n_bytes in sizes for sizes in _UNKNOWN_SIZES)


def _is_chunk(file: int, at: int) -> bool:
    return re.fullmatch(rb"[A-Za-z][A-Za-z0-9 _]{3}", os.pread(file, 4, at + at % 2)) is not None


def first_frame(file: int, size: int) -> int | None:
    """Return where an MP3 begins, behind its tags and other bytes: at the first of three Layer III frames in a row."""
    start = _after_tags(file, size)
    # It nearly always begins right there.
    if _frames_at(file, start):
        return start
    places = (start + found.start() for found in re.finditer(b"\xff", os.pread(file, _JUNK_BYTES, start)))
    return next((at for at in places if _frames_at(file, at)), None)


def n_stated_mp3(file: int, size: int) -> int:
    """Return how many samples a first frame by Xing, LAME or Fraunhofer states; 0 if an MP3 has no such frame.

    The number includes the encoder's delay and padding, up to three frames.
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
            # The size cannot be true, so it does not tell where the tag ends.
            return at + 10
        at += 10 + n_bytes + (10 if head[5] & 0x10 else 0)
    return at


def _frames_at(file: int, at: int) -> bool:
    kinds = set()
    for _ in range(_FRAMES_IN_A_ROW):
        head = os.pread(file, 4, at)
        n_bytes = _frame_bytes(head)
        if not n_bytes:
            return False
        kinds.add((head[1] & 0xFE, head[2] & 0x0C))
        at += n_bytes
    return len(kinds) == 1


def _frame_bytes(head: bytes) -> int:
    """Return the length of the Layer III frame that begins with four bytes; 0 if no such frame does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _LAYER_3_KBITS[3 if version == 3 else 2][kbits - 1]
    return (144 if version == 3 else 72) * bits // _RATES[version][rate] + (head[2] >> 1 & 1)

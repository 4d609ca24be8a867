"""open_audio(): open a clip, an uncompressed WAV here and any other file with the library that reads it."""

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.shared.files import LFS_REMEDY, is_lfs_pointer, stamp_of
from featurize.audio.audio import BLOCK_SAMPLES, Audio, Blocks, ClipError, Decoded, check_sr
from featurize.audio.header import View
from featurize.audio.sndfile import Unread, open_sndfile

# A file up to this size is read in one go, a longer one in blocks, so that memory does not grow with its length.
_SMALL_BYTES = 4 << 20

# Without O_NONBLOCK, opening a pipe would wait for its other end.
_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

# One of so many files is tried to find out whether they are in memory.
_TRIED = 8

# The head of an uncompressed WAV: size of the file without its first 8 bytes; size of the next chunk, format tag,
# channels, sample rate, bytes a second, bytes a frame, bits.
_FORMAT = struct.Struct("<4xI8xIHHIIHH")
_CHUNK = struct.Struct("<4sI")

# Chunks that do not change what the samples mean; recorders and converters write them before or behind the samples. Of
# the chunks LIST and PEAK this holds for some, see `_is_note`.
_NOTES = (b"fact", b"JUNK", b"FLLR", b"bext", b"iXML", b"id3 ")

# By format tag and bits: libsndfile's name, type of the numbers, the number that stands for 0, and the scale. Samples
# of 24 bits are read as four bytes, the lowest of which belongs to the sample before.
_KINDS: dict[tuple[int, int], tuple[str, str, int, float]] = {
    (1, 8): ("PCM_U8", "u1", 128, 2.0**-7),
    (1, 16): ("PCM_16", "<i2", 0, 2.0**-15),
    (1, 24): ("PCM_24", "<i4", 0, 2.0**-31),
    (1, 32): ("PCM_32", "<i4", 0, 2.0**-31),
    (3, 32): ("FLOAT", "<f4", 0, 1.0),
}


@contextmanager
def open_audio(path: str, size: int | None = None, mtime_ns: int | None = None) -> Iterator[Audio]:
    """Open a clip, and check at the end that it is still the same file, with the size and time that it was found with.

    Raises a ClipError if it cannot be opened, is not audio, changed meanwhile, or an error was raised while it was
    open.
    """
    try:
        file = os.open(path, _TO_READ)
    except FileNotFoundError:
        raise ClipError("it disappeared while it was to be read", passing=True) from None
    except OSError as error:
        raise ClipError(f"it cannot be opened ({error.strerror})", passing=True) from None
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise ClipError("it is not a file any more", passing=True)
        found = (before.st_size if size is None else size, before.st_mtime_ns if mtime_ns is None else mtime_ns)
        if found != (before.st_size, before.st_mtime_ns):
            raise ClipError("it changed after it was found; run it again", passing=True)
        if before.st_size == 0:
            raise ClipError("the file is empty")
        yield _opened(path, file, before.st_size)
        _check_unchanged(path, before)
    except ClipError:
        raise
    except OSError as error:
        raise ClipError(f"it cannot be read ({error.strerror})", passing=True) from None
    except Exception as error:
        # A damaged file may make a decoder fail in any way; that must cost this clip only.
        raise ClipError(f"it cannot be decoded ({type(error).__name__}: {error})") from None
    finally:
        os.close(file)


def _check_unchanged(path: str, before: os.stat_result) -> None:
    try:
        after = os.stat(path)  # noqa: PTH116
    except OSError:
        raise ClipError("it disappeared while it was read", passing=True) from None
    if stamp_of(after) != stamp_of(before):
        raise ClipError("it changed while it was read", passing=True)


def read_ahead(paths: Sequence[str]) -> None:
    """Ask the system to read files that will soon be opened, so that the disk works while other clips are computed.

    Some files are tried first: if they are in memory, the others are too, and asking would cost more than it saves.
    """
    # macOS cannot be asked.
    if hasattr(os, "posix_fadvise") and not all(_does(_read_from_memory, path) for path in paths[::_TRIED]):
        for path in paths:
            # An error is reported when the file is opened to be read.
            _does(lambda file: os.posix_fadvise(file, 0, _SMALL_BYTES, os.POSIX_FADV_WILLNEED), path)


def _read_from_memory(file: int) -> None:
    if not hasattr(os, "RWF_NOWAIT"):
        raise OSError("only Linux can tell")
    os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT)


def _does(call: Callable[[int], None], path: str) -> bool:
    """Whether a call to the system with an open file succeeds."""
    try:
        file = os.open(path, _TO_READ)
        try:
            call(file)
        finally:
            os.close(file)
    except OSError:
        return False
    return True


def _opened(path: str, file: int, size: int) -> Audio:
    if size > _SMALL_BYTES:
        return _by_library(path, file, size, lambda: hashlib.file_digest(View(file, size), "sha256").hexdigest())
    data = os.pread(file, size, 0)
    wav = plain_wav(data)
    if wav is None:
        return _by_library(path, file, size, lambda: hashlib.sha256(data).hexdigest())
    check_sr(wav.sr)
    return wav


def _by_library(path: str, file: int, size: int, sha256: Callable[[], str]) -> Audio:
    try:
        return open_sndfile(file, size, path)._replace(sha256=sha256)
    except Unread as refused:
        if refused.passing:
            raise
        # Imported here because it takes a moment.
        from featurize.audio.pyav import open_pyav

        if audio := open_pyav(file, size):
            return audio._replace(sha256=sha256)
        if is_lfs_pointer(os.pread(file, 100, 0)):
            raise ClipError(LFS_REMEDY) from None
        raise


def plain_wav(data: bytes) -> Audio | None:
    """Open an uncompressed WAV, the commonest kind of file, in a fraction of the time that libsndfile takes.

    The samples are libsndfile's to the bit; the sample rate is not checked. Returns None for another file, or if a
    chunk might change what the samples mean.
    """
    if data[:4] != b"RIFF" or data[8:16] != b"WAVEfmt " or len(data) < _FORMAT.size:
        return None
    riff_bytes, fmt_bytes, tag, n_channels, sr, second_bytes, frame_bytes, bits = _FORMAT.unpack_from(data)
    if (tag, bits) not in _KINDS or not 1 <= n_channels <= 8 or fmt_bytes != 16 or riff_bytes + 8 != len(data):
        return None
    if frame_bytes != n_channels * bits // 8 or second_bytes != sr * frame_bytes:
        return None
    first, n_bytes = _find_samples(data, n_channels)
    if n_bytes == 0 or n_bytes % frame_bytes:
        return None
    name, kind, zero, scale = _KINDS[tag, bits]
    number = np.dtype(kind)
    first -= number.itemsize - bits // 8
    shape = (n_bytes // frame_bytes, n_channels)
    samples: npt.NDArray[Any] = np.ndarray(shape, number, data, first, (frame_bytes, bits // 8))
    blocks = partial(_blocks, samples, zero, is_24=bits == 24)
    return Audio(sr, n_channels, len(samples), f"WAV/{name}", blocks, lambda: hashlib.sha256(data).hexdigest(), scale)


def _find_samples(data: bytes, n_channels: int) -> tuple[int, int]:
    """Return where the samples start and how many bytes they are; 0, 0 if another chunk is unknown or cut short."""
    at = end = _FORMAT.size
    found = 0, 0
    while at + _CHUNK.size <= len(data):
        name, n_bytes = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        if name == b"data" and not found[0]:
            found = at, n_bytes
        elif not _is_note(name, data[at : at + 4], n_bytes, n_channels):
            return 0, 0
        # A chunk of odd length is followed by a padding byte, which some programs forget at the end of the file.
        end = at + n_bytes
        at = end + n_bytes % 2
    return found if len(data) in (end, at) else (0, 0)


def _is_note(name: bytes, start: bytes, n_bytes: int, n_channels: int) -> bool:
    # Chunks that libsndfile skips, too; it interprets others, or loses its way in them.
    if name == b"LIST":
        return start == b"INFO"
    if name == b"PEAK":
        return n_bytes == 8 + 8 * n_channels
    return name in _NOTES and n_bytes >= 4


def _blocks(samples: npt.NDArray[Any], zero: int, is_24: bool) -> Blocks:
    n_samples = max(1, BLOCK_SAMPLES // samples.shape[1])
    for start in range(0, len(samples), n_samples):
        block = samples[start : start + n_samples]
        if is_24:
            # Copied first: numpy is slow with numbers that lie across each other.
            block = block.copy()
            block &= -256
        floats = block.astype(np.float32)
        if zero:
            floats -= zero
        yield floats
    return Decoded(len(samples))

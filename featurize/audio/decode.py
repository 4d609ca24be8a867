"""open_audio(): open a clip with the decoder that reads it, and check that the file does not change meanwhile."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from cache.shared.files import LFS_REMEDY, is_lfs_pointer
from featurize.audio.audio import BLOCK_SAMPLES, Audio, ClipError, check_sr
from featurize.audio.sndfile import Unread, open_sndfile
from featurize.audio.wav import float_blocks, plain_wav

# A file up to this size is read in one go, a longer one in blocks, so that memory does not grow with its length.
_SMALL_BYTES = 4 << 20

# One of so many files is tried to find out whether they are in memory.
_TRIED = 8


@contextmanager
def open_audio(path: str, size: int | None = None, mtime_ns: int | None = None) -> Iterator[Audio]:
    """Open a clip, and check at the end that it is still the same file, with the size and time that it was found with.

    Raises a ClipError if it cannot be opened, is not audio, changed meanwhile, or an error was raised while it was
    open.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its other end.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ClipError(_gone_or(error), passing=True) from None
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise ClipError("it is not a file any more", passing=True)
        found = (before.st_size if size is None else size, before.st_mtime_ns if mtime_ns is None else mtime_ns)
        if found != (before.st_size, before.st_mtime_ns):
            raise ClipError("it changed after it was found; run it again", passing=True)
        if before.st_size == 0:
            raise ClipError("the file is empty")
        yield _decode(path, file, before.st_size)
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


def read_ahead(paths: Sequence[str]) -> None:
    """Ask the system to read files that will soon be opened, so that the disk works while other clips are computed.

    Some files are tried first: if they are in memory, the others are too, and asking would cost more than it saves.
    """
    if not hasattr(os, "posix_fadvise"):  # as on macOS
        return
    if all(map(_in_memory, paths[::_TRIED])):
        return
    for path in paths:
        # An error is reported when the file is opened to be read.
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.posix_fadvise(file, 0, _SMALL_BYTES, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)


def _in_memory(path: str) -> bool:
    if not hasattr(os, "RWF_NOWAIT"):  # only Linux can tell
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT)
        finally:
            os.close(file)
    except OSError:
        return False
    return True


def _gone_or(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it disappeared while it was to be read"
    return f"it cannot be opened ({error.strerror})"


def _check_unchanged(path: str, before: os.stat_result) -> None:
    try:
        after = os.stat(path)  # noqa: PTH116
    except OSError:
        raise ClipError("it disappeared while it was read", passing=True) from None
    if _identity(after) != _identity(before):
        raise ClipError("it changed while it was read", passing=True)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _decode(path: str, file: int, size: int) -> Audio:
    if size > _SMALL_BYTES:
        return _open_any(path, file, size, lambda: _digest(file))
    data = os.pread(file, size, 0)
    wav = plain_wav(data)
    if wav is None:
        return _open_any(path, file, size, lambda: _sha256(data))
    check_sr(wav.sr)
    n_samples, n_channels = wav.samples.shape
    blocks = partial(float_blocks, wav, max(1, BLOCK_SAMPLES // n_channels))
    return Audio(wav.sr, n_channels, n_samples, wav.format, blocks, lambda: _sha256(data), wav.scale)


def _open_any(path: str, file: int, size: int, digest: Callable[[], str]) -> Audio:
    try:
        return open_sndfile(file, size, path, digest)
    except Unread as refused:
        if refused.passing:
            raise
        # Imported here because it takes a moment.
        from featurize.audio.pyav import open_pyav

        audio = open_pyav(file, size, digest)
        if audio is None:
            if is_lfs_pointer(os.pread(file, 100, 0)):
                raise ClipError(LFS_REMEDY) from None
            raise
        return audio


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest(file: int) -> str:
    # libsndfile reads the same open file, and goes on from its position.
    position = os.lseek(file, 0, os.SEEK_CUR)
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", buffering=0, closefd=False) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    os.lseek(file, position, os.SEEK_SET)
    return digest

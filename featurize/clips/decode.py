"""An audio file to its samples: float32 at its own rate, of every channel, in blocks that fit the memory."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from featurize.clips.wav import float_blocks, plain_wav

Float32 = npt.NDArray[np.float32]

# A file up to this size is read in one go, a longer one in blocks, so that memory does not follow its length.
_SMALL_BYTES = 4 << 20
_BLOCK_SAMPLES = 1 << 16

# To find out whether files are in memory, one of so many is tried.
_TRIED = 8

# Outside of these a sample rate is a damaged header's, not a recorder's.
_LOWEST_SR, _HIGHEST_SR = 1_000, 1_000_000

# libsndfile's codes, from its sndfile.h and common.h: no format fits, the operating system failed, no file to decode.
_UNRECOGNISED, _SYSTEM, _BAD_FILE = 1, 2, 7


class ClipError(Exception):
    """A clip that cannot be used; the message is the reason in words, without the clip's name.

    `passing` tells a trouble that may be over at the next try although the file has not changed.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass
class Audio:
    """An open clip.

    Attributes
    ----------
    sr
        The file's own sample rate in Hz.
    n_samples
        Samples of a channel that its header states.
    format
        Container and encoding, such as "WAV/PCM_16".
    blocks
        Starts to read from the beginning: gives (n, n_channels) float32, a block at a time, which the next overwrites,
        and the reader, too, unless `scale` is 1.
    digest
        Computes `sha256`.
    scale
        What to multiply the samples of `blocks` with.
    """

    sr: int
    n_samples: int
    format: str
    blocks: Callable[[], Iterable[Float32]]
    digest: Callable[[], str]
    scale: float = 1.0

    @property
    def sha256(self) -> str:
        """Hex digest of the file's content; a long file is read for it, so ask once."""
        return self.digest()


@contextmanager
def open_audio(path: str, size: int | None = None, mtime_ns: int | None = None) -> Iterator[Audio]:
    """Open a clip, and see to it that it stays the same file until it is closed.

    Parameters
    ----------
    path
        The file.
    size, mtime_ns
        What it was when it was found, if that matters.

    Raises
    ------
    ClipError
        It cannot be opened, is no audio, changed while it was read, or what is done with it while it is open fails.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its other end for ever.
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
        yield _decode(file, before.st_size)
        _check_unchanged(path, before)
    except ClipError:
        raise
    except OSError as error:
        raise ClipError(f"it cannot be read ({error.strerror})", passing=True) from None
    except Exception as error:
        # A file of unknown origin may make a decoder fail in any way; that must cost this clip only.
        raise ClipError(f"it cannot be decoded ({type(error).__name__}: {error})") from None
    finally:
        os.close(file)


def read_ahead(paths: Sequence[str]) -> None:
    """Have the system read files that will soon be opened: to wait for them one by one leaves the disk idle and us.

    Some are tried first: where they are in memory the others will be, too, and asking would cost more than it saves.
    """
    if not hasattr(os, "posix_fadvise"):  # macOS has none
        return
    if all(map(_in_memory, paths[::_TRIED])):
        return
    for path in paths:
        # What is wrong with a file is said when its turn comes.
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


def _decode(file: int, size: int) -> Audio:
    if size > _SMALL_BYTES:
        return _open_any(file, lambda: _digest(file))
    data = os.pread(file, size, 0)
    wav = plain_wav(data)
    if wav is None:
        return _open_any(file, lambda: hashlib.sha256(data).hexdigest())
    check_sr(wav.sr)
    n_samples, n_channels = wav.samples.shape
    blocks = partial(float_blocks, wav, max(1, _BLOCK_SAMPLES // n_channels))
    return Audio(wav.sr, n_samples, wav.format, blocks, lambda: hashlib.sha256(data).hexdigest(), wav.scale)


def _digest(file: int) -> str:
    # libsndfile has this file open too, and goes on reading where it was.
    position = os.lseek(file, 0, os.SEEK_CUR)
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", buffering=0, closefd=False) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    os.lseek(file, position, os.SEEK_SET)
    return digest


def _open_any(file: int, digest: Callable[[], str]) -> Audio:
    import soundfile

    def sound() -> soundfile.SoundFile:
        os.lseek(file, 0, os.SEEK_SET)
        try:
            return soundfile.SoundFile(file, closefd=False)
        except soundfile.LibsndfileError as error:
            raise _unreadable(error.code, _words(error.error_string)) from None

    # An MP3 is searched to its end when it is opened: once is enough.
    opened = [sound()]
    sr, n_channels, n_samples = opened[0].samplerate, opened[0].channels, opened[0].frames
    name = f"{opened[0].format}/{opened[0].subtype}"
    check_sr(sr)
    if n_samples == 0:
        raise ClipError("it holds no samples")

    def blocks() -> Iterator[Float32]:
        # A header may claim any length: room is made for what is read, not for what is claimed.
        block = np.empty((min(n_samples, max(1, _BLOCK_SAMPLES // n_channels)), n_channels), np.float32)
        n_read = 0
        with opened.pop() if opened else sound() as stream:
            # soundfile seeks to where it is after every read, upon which an MP3's decoder loses what it has of the next
            # frame; a file that cannot seek it leaves alone.
            stream.seekable = lambda: False
            while n_read < n_samples:
                room = block[: n_samples - n_read]
                try:
                    n = len(stream.read(out=room))
                except soundfile.LibsndfileError as error:
                    reason = _words(error.error_string)
                    raise ClipError(f"it is damaged after {n_read / sr:.2f} s (libsndfile: {reason})") from None
                n_read += n
                if n:
                    yield block[:n]
                # What libsndfile gives after it stopped short comes from behind a hole.
                if n < len(room):
                    break
        if n_read == 0:
            raise ClipError("it holds no samples that can be decoded")
        # The length of an MP3 is only estimated; every other header knows it.
        if n_read < n_samples and not name.startswith("MP3"):
            raise ClipError(
                f"it is cut short or damaged: {n_read / sr:.2f} s of the {n_samples / sr:.2f} s that its header states"
            )

    return Audio(sr, n_samples, name, blocks, digest)


def _words(error_string: str) -> str:
    return error_string.removeprefix("Error : ").rstrip(". ")


def _unreadable(code: int, reason: str) -> ClipError:
    if code == _UNRECOGNISED:
        return ClipError("it is not audio in any format that libsndfile knows")
    # The words for this code speak of a missing file, and it stands for an MP3 without a whole frame.
    if code == _BAD_FILE:
        return ClipError("its header promises audio that libsndfile does not find")
    return ClipError(f"its header is damaged or of an unknown kind (libsndfile: {reason})", passing=code == _SYSTEM)


def check_sr(sr: int) -> None:
    """Raise a ClipError if a header's sample rate is none that a recorder writes."""
    if not _LOWEST_SR <= sr <= _HIGHEST_SR:
        raise ClipError(f"its header states a sample rate of {sr} Hz, outside of {_LOWEST_SR} to {_HIGHEST_SR} Hz")

"""Files that libsndfile reads: WAV of every encoding, FLAC, Ogg, MP3, AIFF, AU, CAF and more."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featurize.audio.audio import BLOCK_SAMPLES, NO_LENGTH, Audio, ClipError, Float32, check_length, check_sr
from featurize.audio.header import Body, View, body_of, first_frame, n_stated_mp3, n_stated_of

# libsndfile's codes, from its sndfile.h and common.h: no format fits, the operating system failed, no file to decode,
# a known container that holds an encoding which is not.
_UNRECOGNISED, _SYSTEM, _BAD_FILE = 1, 2, 7

# More samples than this no header states that knows how many there are: it is what libsndfile makes of unknown.
_MOST_SAMPLES = 1 << 40

# What an MP3's encoder adds in front and behind, which is not in its length, is less.
_MOST_PADDING = 4 * 1152

_UNCOMPRESSED = ("PCM", "FLOAT", "DOUBLE", "ALAW", "ULAW")


class Unread(ClipError):
    """Nothing that libsndfile reads, though another decoder may; `recognised` if it knows at least the container."""

    def __init__(self, reason: str, recognised: bool = True, passing: bool = False) -> None:
        super().__init__(reason, passing)
        self.recognised = recognised


def open_sndfile(file: int, size: int, path: str, digest: Callable[[], str]) -> Audio:
    """Open whatever libsndfile reads.

    Parameters
    ----------
    file
        Descriptor of a file of `size` bytes; it stays open.
    path
        Its name, by which libsndfile takes an MP3 that has something before its first frame.
    digest
        Computes the sha256 of its content.

    Raises
    ------
    Unread
        It is nothing that libsndfile reads.
    ClipError
        It is, but nothing to use. What is wrong further on is raised from `blocks`.
    """
    body = body_of(file, size)
    # An MP3 is searched to its end when it is opened: once is enough.
    opened = [_sound(file, size, path, body)]
    sr, n_channels, n_samples = opened[0].samplerate, opened[0].channels, opened[0].frames
    name = f"{opened[0].format}/{opened[0].subtype}"
    is_mp3 = name.startswith("MP3")
    check_sr(sr)
    if n_samples == 0:
        raise Unread("it holds no samples") if is_mp3 else ClipError("it holds no samples")
    most, n_samples = n_samples, n_samples if n_samples < _MOST_SAMPLES else 0

    def blocks() -> Iterator[Float32]:
        n_read, broken = 0, ""
        with opened.pop() if opened else _sound(file, size, path, body) as stream:
            for block, error in _blocks(stream, most, n_channels, is_mp3):
                n_read, broken = n_read + len(block), error
                if len(block):
                    yield block
        n_stated = n_stated_of(n_read, n_samples, body)
        if is_mp3 and abs(n_stated_mp3(file, size) - n_samples) > _MOST_PADDING:
            n_stated = 0  # an estimate
        if broken and (n_read == 0 or n_read >= n_stated):
            raise ClipError(f"it is damaged after {n_read / sr:.2f} s (libsndfile: {broken})")
        if n_read == 0:
            raise ClipError("it holds no samples that can be decoded")
        compressed = not name.split("/")[1].startswith(_UNCOMPRESSED) and not name.startswith("FLAC")
        audio.remark = NO_LENGTH if body and body.head else check_length(n_read, n_stated, sr, compressed)
        audio.n_decoded = n_read

    audio = Audio(sr, n_samples, name, blocks, digest)
    return audio


def _sound(file: int, size: int, path: str, body: Body | None) -> Any:
    import soundfile

    os.lseek(file, 0, os.SEEK_SET)
    try:
        if body and body.head:
            return soundfile.SoundFile(View(file, size, body.head))
        return soundfile.SoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        refused = _unread(error.code, _words(error.error_string))
    # By descriptor, libsndfile lacks what it knows from the name; by name it takes for MP3 what is none, too.
    if refused.recognised or not path.lower().endswith(".mp3") or first_frame(file, size) is None:
        raise refused
    try:
        return soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        raise _unread(error.code, _words(error.error_string)) from None


def _blocks(stream: Any, most: int, n_channels: int, is_mp3: bool) -> Iterator[tuple[Float32, str]]:
    """Yield what is decoded, a block at a time, and with the last one why it is the last, if that is an error."""
    import soundfile

    # soundfile seeks to where it is after every read, upon which an MP3's decoder loses what it has of the next
    # frame; a file that cannot seek it leaves alone.
    stream.seekable = lambda: False
    # A header may claim any length: room is made for what is read, not for what is claimed.
    block = np.empty((min(most, max(1, BLOCK_SAMPLES // n_channels)), n_channels), np.float32)
    n_read = 0
    while n_read < most:
        room = block[: most - n_read]
        if is_mp3:
            room.fill(np.nan)
        try:
            n = len(stream.read(out=room))
        except soundfile.LibsndfileError as error:
            # What came before the error is in the block all the same; of an MP3 it is not counted.
            n = len(room) - int(np.isnan(room[::-1, 0]).argmin()) if is_mp3 else stream.tell() - n_read
            n = 0 if is_mp3 and np.isnan(room[0, 0]) else min(max(0, n), len(room))
            yield room[:n], _words(error.error_string)
            return
        yield room[:n], ""
        n_read += n
        # What libsndfile gives after it stopped short comes from behind a hole.
        if n < len(room):
            return


def _words(error_string: str) -> str:
    return error_string.removeprefix("Error : ").rstrip(". ")


def _unread(code: int, reason: str) -> Unread:
    if code == _UNRECOGNISED:
        return Unread("it is not audio in any format that libsndfile or FFmpeg knows", recognised=False)
    # The words for this code speak of a missing file, and it stands for an MP3 without a whole frame.
    if code == _BAD_FILE:
        return Unread("its header promises audio that is not found")
    return Unread(f"its header is damaged or of an unknown kind (libsndfile: {reason})", passing=code == _SYSTEM)

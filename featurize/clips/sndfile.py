"""Files that libsndfile reads: WAV of every encoding, FLAC, Ogg, MP3, AIFF, AU, CAF and more."""

import os
from collections.abc import Callable, Iterator

import numpy as np

from featurize.clips.audio import BLOCK_SAMPLES, Audio, ClipError, Float32, check_sr

# libsndfile's codes, from its sndfile.h and common.h: no format fits, the operating system failed, no file to decode.
_UNRECOGNISED, _SYSTEM, _BAD_FILE = 1, 2, 7


def open_sndfile(file: int, digest: Callable[[], str]) -> Audio:
    """Open whatever libsndfile reads.

    Parameters
    ----------
    file
        Descriptor of a file; it stays open.
    digest
        Computes the sha256 of its content.

    Raises
    ------
    ClipError
        It is nothing that libsndfile reads. What is wrong further on is raised from `blocks`.
    """
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
        block = np.empty((min(n_samples, max(1, BLOCK_SAMPLES // n_channels)), n_channels), np.float32)
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

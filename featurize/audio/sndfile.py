"""Files that libsndfile reads: WAV of every encoding, FLAC, Ogg, MP3, AIFF, AU, CAF and more; a WAV from a pipe."""

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from cache.shared.types import Float32
from featurize.audio.audio import BLOCK_SAMPLES, Audio, Blocks, ClipError, Decoded, Reading, check_length, check_sr
from featurize.audio.header import Body, View, body_of, first_frame, is_unknown, n_stated_mp3, n_stated_of

# libsndfile's codes, from its sndfile.h and common.h: no format fits, the operating system failed, no file to decode.
_UNRECOGNISED, _SYSTEM, _BAD_FILE = 1, 2, 7

# libsndfile gives a greater number of samples where the header does not know it.
_MOST_SAMPLES = 1 << 40

# An MP3's encoder adds fewer samples than this in front and behind, which its length does not count.
_MOST_PADDING = 4 * 1152

_NO_LENGTH = "no stated length: its header says that there are no samples, or fewer than follow; all were read"

_UNCOMPRESSED = ("PCM", "FLOAT", "DOUBLE", "ALAW", "ULAW")
_SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


class Unread(ClipError):
    """A file that libsndfile does not read, though another decoder may."""


def open_sndfile(file: int, size: int, path: str) -> Audio:
    """Open a file with libsndfile, which needs the extension to recognise some MP3s.

    The descriptor `file` stays open. Raises an Unread if libsndfile does not read the file, and a ClipError if it
    cannot be used. Errors further on are raised from `blocks`.
    """
    body = body_of(file, size)
    # libsndfile searches an MP3 to its end when it opens it: once is enough.
    opened = [_sound(file, size, path, body)]
    sr, n_channels, n_samples = opened[0].samplerate, opened[0].channels, opened[0].frames
    name = f"{opened[0].format}/{opened[0].subtype}"
    is_mp3, can_seek = name.startswith("MP3"), opened[0].seekable()
    check_sr(sr)
    if n_samples == 0:
        raise Unread("it holds no samples") if is_mp3 else ClipError("it holds no samples")
    most, n_samples = n_samples, n_samples if n_samples < _MOST_SAMPLES else 0

    def blocks() -> Blocks:
        with opened.pop() if opened else _sound(file, size, path, body) as stream:
            n_read, error = yield from _blocks(stream, most, n_channels, is_mp3)
        n_stated = n_stated_of(n_read, n_samples, body)
        if is_mp3 and abs(n_stated_mp3(file, size) - n_samples) > _MOST_PADDING:
            n_stated = 0  # an estimate
        if error and (n_read == 0 or n_read >= n_stated):
            raise _damaged(n_read / sr, error)
        if n_read == 0:
            raise ClipError("it holds no samples that can be decoded")
        if body and body.head:
            return Decoded(n_read, _NO_LENGTH)
        compressed = not name.split("/")[1].startswith(_UNCOMPRESSED) and not name.startswith("FLAC")
        return Decoded(n_read, check_length(n_read, n_stated, sr, compressed))

    def blocks_from(first: int) -> Iterator[Float32]:
        import soundfile

        with _sound(file, size, path, body) as stream:
            try:
                stream.seek(first)
            except soundfile.LibsndfileError:
                return  # the header promises more than there is
            _, error = yield from _blocks(stream, most - first, n_channels, is_mp3)
            if error:
                raise _damaged(first / sr, error)

    return Audio(sr, n_channels, n_samples, name, blocks, blocks_from=blocks_from if n_samples and can_seek else None)


def open_stream(file: int, is_over: Callable[[], bool]) -> Audio:
    """Open a WAV that can only be read once, from its start: standard input.

    The descriptor `file` stays open. After every quarter of a second of sound `is_over` is asked whether to stop there,
    as if the recording had ended. The result's `n_samples` is 0 where the header does not know it, and its `blocks` can
    be called once. Raises a ClipError if it is not a WAV. Errors further on are raised from `blocks`.
    """
    import soundfile

    try:
        stream = soundfile.SoundFile(file, closefd=False)
    except (soundfile.LibsndfileError, OSError):
        raise ClipError("it is not a WAV; pipe a WAV in, such as `sox in.mp3 -t wav - | ..`") from None
    sr, n_channels, n_samples = stream.samplerate, stream.channels, stream.frames
    check_sr(sr)
    if not n_samples and not stream.seekable() and stream.subtype in _SAMPLE_BYTES:
        # Its header says 0, as of a recording that goes on. libsndfile has read just the header; samples follow.
        raw = {"format": "RAW", "subtype": stream.subtype, "endian": "LITTLE"}
        stream = soundfile.SoundFile(file, closefd=False, samplerate=sr, channels=n_channels, **raw)
    if is_unknown(n_samples * n_channels * _SAMPLE_BYTES.get(stream.subtype, 1)):
        n_samples = 0

    def blocks() -> Blocks:
        n_heard = 0
        # Blocks are short, because a microphone fills them no faster than sound goes.
        longest = max(1, sr // 4) * n_channels
        parts = Reading(_blocks(stream, n_samples or _MOST_SAMPLES, n_channels, longest=longest))
        for block in parts:
            n_heard += len(block)
            yield block
            if is_over():
                return Decoded(n_heard)
        n_read, error = parts.result
        if error:
            raise _damaged(n_read / sr, error)
        if n_read == 0:
            raise ClipError("it holds no samples")
        return Decoded(n_read, check_length(n_read, n_samples, sr, stream.subtype not in _SAMPLE_BYTES))

    return Audio(sr, n_channels, n_samples, f"{stream.format}/{stream.subtype}", blocks)


def _sound(file: int, size: int, path: str, body: Body | None) -> Any:
    import soundfile

    os.lseek(file, 0, os.SEEK_SET)
    try:
        if body and body.head:
            return soundfile.SoundFile(View(file, size, body.head))
        return soundfile.SoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        # libsndfile recognises some MP3s by their name only, but by name it also takes other files for MP3s.
        is_mp3 = error.code == _UNRECOGNISED and path.lower().endswith(".mp3") and first_frame(file, size) is not None
        if not is_mp3:
            raise _unread(error) from None
    try:
        return soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        raise _unread(error) from None


def _blocks(
    stream: Any, most: int, n_channels: int, is_mp3: bool = False, longest: int = 0
) -> Generator[Float32, None, tuple[int, str]]:
    """Yield up to `most` samples a block at a time; return how many there were, and the error that ended them or ""."""
    import soundfile

    # soundfile seeks to its position after every read, and an MP3's decoder then loses what it has of the next frame.
    # It does not do so with a file that cannot seek.
    stream.seekable = lambda: False
    # A header may claim any length, so there is room for a block only.
    block = np.empty((min(most, max(1, (longest or BLOCK_SAMPLES) // n_channels)), n_channels), np.float32)
    n_read = 0
    while n_read < most:
        room = block[: most - n_read]
        if is_mp3:
            room.fill(np.nan)
        try:
            n = len(stream.read(out=room))
        except soundfile.LibsndfileError as error:
            # The samples before the error are in the block, but libsndfile does not count those of an MP3.
            n = int((~np.isnan(room[:, 0])).sum()) if is_mp3 else min(max(0, stream.tell() - n_read), len(room))
            if n:
                yield room[:n]
            return n_read + n, _words(error)
        if n:
            yield room[:n]
        n_read += n
        # After a short read, libsndfile would go on behind a hole.
        if n < len(room):
            break
    return n_read, ""


def _words(error: Any) -> str:
    return str(error.error_string).removeprefix("Error : ").rstrip(". ")


def _damaged(seconds: float, error: str) -> ClipError:
    return ClipError(f"it is damaged after {seconds:.2f} s (libsndfile: {error})")


def _unread(error: Any) -> Unread:
    if error.code == _UNRECOGNISED:
        return Unread("it is not audio in any format that libsndfile or FFmpeg knows")
    # libsndfile's words for this code speak of a missing file, but it means an MP3 without a whole frame.
    if error.code == _BAD_FILE:
        return Unread("its header promises audio that is not found")
    words = f"its header is damaged or of an unknown kind (libsndfile: {_words(error)})"
    return Unread(words, passing=error.code == _SYSTEM)

"""Uncompressed WAVs, the commonest files, which libsndfile takes several times as long to read."""

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from featurize.audio.audio import Blocks, Decoded

# Size of the file without its first 8 bytes; size of the next chunk, format tag, channels, sample rate, bytes a second,
# bytes a frame, bits.
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


class PlainWav(NamedTuple):
    """An uncompressed WAV in memory."""

    sr: int  # sample rate in Hz, which is not checked
    samples: npt.NDArray[Any]  # the numbers as they are stored, shape (n_samples, n_channels)
    bits: int  # bits of a number
    zero: int  # the number that stands for 0
    scale: float  # the factor that brings full scale to 1
    format: str  # container and encoding


def plain_wav(data: bytes) -> PlainWav | None:
    """Return the samples of an uncompressed WAV; None for another file, or if a chunk might change what they mean."""
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
    return PlainWav(sr, samples, bits, zero, scale, f"WAV/{name}")


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


def float_blocks(wav: PlainWav, n_samples: int) -> Blocks:
    """Yield `n_samples` of every channel at a time, which times `wav.scale` are libsndfile's to the bit."""
    for start in range(0, len(wav.samples), n_samples):
        block = wav.samples[start : start + n_samples]
        if wav.bits == 24:
            # Copied first: numpy is slow with numbers that lie across each other.
            block = block.copy()
            block &= -256
        floats = block.astype(np.float32)
        if wav.zero:
            floats -= wav.zero
        yield floats
    return Decoded(len(wav.samples))

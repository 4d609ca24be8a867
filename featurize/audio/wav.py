"""Plain WAVs of integers or floats, the commonest files, which libsndfile takes several times as long to read."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# Size of the file without its first 8 bytes; size of the next chunk, format tag, channels, sample rate, bytes a second,
# bytes a frame, bits.
_FORMAT = struct.Struct("<4xI8xIHHIIHH")
_CHUNK = struct.Struct("<4sI")

# Chunks that say nothing of the samples, beside lists of remarks and the samples' peaks: what recorders and converters
# put before or behind them.
_REMARKS = (b"fact", b"JUNK", b"FLLR", b"bext", b"iXML", b"id3 ")

# By format tag and bits: libsndfile's name, the numbers' type, the number that stands for 0, and what makes the
# greatest 1. Of 24 bits, four bytes are read at a time; the lowest is the sample's before.
_KINDS: dict[tuple[int, int], tuple[str, str, int, float]] = {
    (1, 8): ("PCM_U8", "u1", 128, 2.0**-7),
    (1, 16): ("PCM_16", "<i2", 0, 2.0**-15),
    (1, 24): ("PCM_24", "<i4", 0, 2.0**-31),
    (1, 32): ("PCM_32", "<i4", 0, 2.0**-31),
    (3, 32): ("FLOAT", "<f4", 0, 1.0),
}


class PlainWav(NamedTuple):
    """A WAV in memory.

    Attributes
    ----------
    sr
        Sample rate in Hz, whatever the header says.
    samples
        Numbers as they are stored, shape (n_samples, n_channels).
    bits
        Of a number.
    zero
        The number that stands for 0.
    scale
        What makes the greatest number 1.
    format
        Container and encoding.
    """

    sr: int
    samples: npt.NDArray[Any]
    bits: int
    zero: int
    scale: float
    format: str


def plain_wav(data: bytes) -> PlainWav | None:
    """Return the samples of a file of integers or floats with nothing of note beside them; None for others."""
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
    """Return where the samples start and how many bytes they are; none if anything else is unknown or cut short."""
    at = end = _FORMAT.size
    found = 0, 0
    while at + _CHUNK.size <= len(data):
        name, n_bytes = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        if name == b"data" and not found[0]:
            found = at, n_bytes
        elif not _is_remark(name, data[at : at + 4], n_bytes, n_channels):
            return 0, 0
        # A chunk of odd length is followed by a byte that does not count, and that some forget at the end.
        end = at + n_bytes
        at = end + n_bytes % 2
    return found if len(data) in (end, at) else (0, 0)


def _is_remark(name: bytes, start: bytes, n_bytes: int, n_channels: int) -> bool:
    # What libsndfile passes over, too: others it interprets, or loses its way in.
    if name == b"LIST":
        return start == b"INFO"
    if name == b"PEAK":
        return n_bytes == 8 + 8 * n_channels
    return name in _REMARKS and n_bytes >= 4


def float_blocks(wav: PlainWav, n_samples: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield so many samples of every channel at a time, float32; times `scale` they are libsndfile's to the bit."""
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

"""The plainest and commonest files, WAVs of a header and integers, which libsndfile takes ten times as long to read."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# RIFF size; format tag, channels, sample rate, bytes a second, bytes a frame, bits; name and size of the next chunk.
_HEADER = struct.Struct("<4xI12xHHIIHH4sI")
_INTEGERS = 1

# By bits: libsndfile's name, the integers' type, the integer that stands for 0, and what makes the greatest 1.
# Of 24 bits, four bytes are read at a time; the lowest is the sample's before.
_KINDS: dict[int, tuple[str, str, int, float]] = {
    8: ("PCM_U8", "u1", 128, 2.0**-7),
    16: ("PCM_16", "<i2", 0, 2.0**-15),
    24: ("PCM_24", "<i4", 0, 2.0**-31),
    32: ("PCM_32", "<i4", 0, 2.0**-31),
}


class PlainWav(NamedTuple):
    """A WAV in memory.

    Attributes
    ----------
    sr
        Sample rate in Hz, whatever the header says.
    bits
        Of a sample: 8, 16, 24 or 32.
    samples
        Integers, shape (n_samples, n_channels).
    """

    sr: int
    bits: int
    samples: npt.NDArray[Any]

    @property
    def format(self) -> str:
        """Container and encoding."""
        return f"WAV/{_KINDS[self.bits][0]}"


def plain_wav(data: bytes) -> PlainWav | None:
    """Return the samples of a file that is a header of 44 bytes and integers, with nothing else; None for others."""
    if data[:4] != b"RIFF" or data[8:20] != b"WAVEfmt \x10\0\0\0" or len(data) < _HEADER.size:
        return None
    riff_bytes, tag, n_channels, sr, second_bytes, frame_bytes, bits, name, n_bytes = _HEADER.unpack_from(data)
    if tag != _INTEGERS or bits not in _KINDS or not 1 <= n_channels <= 8 or name != b"data":
        return None
    if frame_bytes != n_channels * bits // 8 or second_bytes != sr * frame_bytes or riff_bytes + 8 != len(data):
        return None
    if n_bytes == 0 or n_bytes % frame_bytes or _HEADER.size + n_bytes != len(data):
        return None
    integers = np.dtype(_KINDS[bits][1])
    first, shape = _HEADER.size - (integers.itemsize - bits // 8), (n_bytes // frame_bytes, n_channels)
    samples: npt.NDArray[Any] = np.ndarray(shape, integers, data, first, (frame_bytes, bits // 8))
    return PlainWav(sr, bits, samples)


def float_blocks(wav: PlainWav, n_samples: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the samples as libsndfile does, to the bit: float32 in [-1, 1), so many of every channel at a time."""
    _, _, zero, scale = _KINDS[wav.bits]
    for start in range(0, len(wav.samples), n_samples):
        block = wav.samples[start : start + n_samples]
        if wav.bits == 24:
            block = block & -256
        if zero:
            block = np.subtract(block, zero, dtype=np.float32)
        yield np.multiply(block, np.float32(scale), dtype=np.float32)

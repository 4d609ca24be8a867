"""Audio files as bytes: every container and encoding that is tested, and WAV headers that say what they are told."""

import io
import struct
import tempfile

import av
import numpy as np
import numpy.typing as npt
import soundfile

# Every container of the usual tools, and within WAV every encoding.
FORMATS = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")),
    *(("WAV", subtype) for subtype in ("IMA_ADPCM", "MS_ADPCM", "MPEG_LAYER_III")),
    *((container, "PCM_16") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]

# Beyond libsndfile: FFmpeg's names of container and encoder, and the rate that the encoder wants.
FFMPEG_FORMATS = [
    *(("ipod", codec, 44100) for codec in ("aac", "alac")),
    *((container, "aac", 44100) for container in ("mp4", "mov", "3gp", "adts", "avi", "mpegts", "flv")),
    *(("amr", "libopencore_amrnb", 8000), ("webm", "libopus", 48000), ("asf", "wmav2", 44100)),
    *(("matroska", codec, 44100) for codec in ("flac", "pcm_s16le", "libmp3lame", "ac3")),
    *(("ogg", "flac", 44100), ("caf", "adpcm_ima_qt", 44100), ("wav", "adpcm_yamaha", 44100)),
    *((codec, codec, 44100) for codec in ("ac3", "tta")),
    ("wv", "wavpack", 44100),
]


def noise(n_samples: int, n_channels: int = 1, seed: int = 0) -> npt.NDArray[np.float64]:
    """Noise whose level rises and falls, shape (n_samples, n_channels)."""
    level = 0.1 * np.abs(np.sin(np.linspace(0, 20, n_samples)))[:, None] + 0.02
    return np.clip(level * np.random.default_rng(seed).normal(0, 1, (n_samples, n_channels)), -1, 1)


def encoded(container: str, subtype: str, y: npt.NDArray[np.float64], sr: int = 16000) -> bytes:
    if (container, subtype) == ("WAV", "MPEG_LAYER_III"):
        return mp3_in_wav(y, sr)
    stream = io.BytesIO()
    soundfile.write(stream, y, sr, subtype=subtype, format=container)
    return stream.getvalue()


def mp3_in_wav(y: npt.NDArray[np.float64], sr: int) -> bytes:
    """An MP3 stream under a RIFF header, as some recorders and sound archives have it; libsndfile only reads it."""
    stream = io.BytesIO()
    soundfile.write(stream, y, sr, subtype="MPEG_LAYER_III", format="MP3")
    data = stream.getvalue()
    n_channels, byte_rate = y.shape[1], max(1, len(data) * sr // len(y))
    fmt = struct.pack("<HHIIHHHHIHHH", 0x55, n_channels, sr, byte_rate, 1, 0, 12, 1, 2, 1152, 1, 1393)
    fact = struct.pack("<I", len(y))
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"fmt ", fmt), (b"fact", fact), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def ffmpeg_encoded(container: str, codec: str, y: npt.NDArray[np.float64], sr: int) -> bytes:
    """The samples in any container and encoding that FFmpeg writes; its index stands before them if it has one."""
    layout = "mono" if y.shape[1] == 1 else "stereo"
    options = {"movflags": "faststart"} if container in ("ipod", "mp4", "mov", "3gp") else {}
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", format=container, options=options) as out:
        sound = out.add_stream(codec, rate=sr, layout=layout)
        if codec in ("aac", "wmav2", "ac3", "libopus", "libmp3lame"):
            sound.bit_rate = 96000
        for start in range(0, len(y), 4096):
            part = np.ascontiguousarray(y[start : start + 4096].T.astype(np.float32))
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sr, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        out.close()
        return file.read()


def wav(
    y: npt.NDArray[np.generic],
    tag: int = 1,
    sr: int = 16000,
    n_channels: int = 1,
    riff_size: int | None = None,
    data_size: int | None = None,
) -> bytes:
    """A WAV of the samples' own bytes under a header of any claims."""
    body, bits = y.tobytes(), 8 * y.itemsize
    frame_bytes = n_channels * y.itemsize
    fmt = struct.pack("<HHIIHH", tag, n_channels, sr, sr * frame_bytes & 0xFFFFFFFF, frame_bytes, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body) if riff_size is None else riff_size)
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", len(body) if data_size is None else data_size)
        + body
    )


def pcm16(n_samples: int = 4000, seed: int = 0) -> npt.NDArray[np.int16]:
    return (noise(n_samples, seed=seed)[:, 0] * 32767).astype(np.int16)


def flipped(data: bytes, first: int, last: int) -> bytes:
    """The same bytes with all bits of some of them turned over."""
    return data[:first] + bytes(b ^ 0xFF for b in data[first:last]) + data[last:]

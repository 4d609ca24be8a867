"""Files that FFmpeg's libraries read and libsndfile does not: M4A, MP4, AAC, AMR, WebM, Matroska, WMA and more."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.shared.types import Float32
from featurize.audio.audio import BLOCK_SAMPLES, Audio, Blocks, ClipError, Decoded, check_length, check_sr
from featurize.audio.header import View, body_of, first_frame, n_stated_mp3, n_stated_of

# Containers whose demuxer reads the one file it is given: no playlist, no list of parts, no address.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,amrnb,amrwb,asf,ogg,caf,flac,mp3,wav,w64,aiff,au,ac3,eac3,dts,loas,"
    "ape,wv,tta,tak,mpc,mpc8,avi,flv,mpegts,mpeg"
)

# Containers whose header states the length. An MP3 may; for the others FFmpeg estimates it or reads the end.
_STATE_LENGTH = {"mov", "matroska", "asf", "avi", "flv", "flac", "caf", "wav", "w64", "aiff", "au"}
_STATE_LENGTH |= {"ape", "tta", "tak", "wv"}

# Streams without a container: a file that is not audio may look like one for a moment.
_BARE = {"mp3", "aac", "amr", "amrnb", "amrwb", "ac3", "eac3", "dts", "loas", "mpegts", "mpeg"}

# The encoder's padding at the end of an MP4 is shorter than this.
_MOST_PADDING = 4096

_BRANDS = {"M4A": "M4A", "M4B": "M4A", "qt": "MOV", "3gp": "3GP", "3g2": "3GP"}

CONVERT = "an encoding that cannot be read; convert it, for example with ffmpeg -i in out.flac"


def open_pyav(file: int, size: int) -> Audio | None:
    """Open the first audio stream of a file with FFmpeg's libraries; None if FFmpeg cannot read the container.

    The descriptor `file` stays open, and no other file is opened. Raises a ClipError if the file holds no audio, or in
    an encoding that cannot be read. Errors further on are raised from `blocks`.
    """
    container = _opened(file, size)
    if container is None:
        if os.pread(file, 4, 4) == b"ftyp":
            raise ClipError("it is cut short or damaged: the index that an MP4 needs (moov) is not in it")
        return None
    with container:
        kind = container.format.name.split(",")[0]
        if kind == "mp3" and first_frame(file, size) is None:
            return None
        stream = _stream(container)
        first = next(_frames(container, stream), None)
        # Not from the header: the decoder may know the rate better.
        if first is None or not first.sample_rate:
            return None
        sr, n_channels = first.sample_rate, len(first.layout.channels)
        check_sr(sr)
        n_expected = _n_expected(container, stream, sr)
        name = f"{_container_name(kind, container, file)}/{stream.codec_context.codec.canonical_name.upper()}"
    states = n_stated_mp3(file, size) > 0 if kind == "mp3" else kind in _STATE_LENGTH
    end = n_expected if kind == "mov" else 0

    def blocks() -> Blocks:
        n_read = 0
        again = _opened(file, size)
        assert again is not None
        with again:
            parts = _samples(_frames(again, _stream(again), kind in _BARE), sr, n_channels)
            for block in _joined(_trimmed(parts, end) if end else parts, BLOCK_SAMPLES // n_channels):
                n_read += len(block)
                yield block
        if n_read == 0:
            raise ClipError("it holds no samples that can be decoded")
        n_stated = n_stated_of(n_read, n_expected, body_of(file, size)) if states else 0
        return Decoded(n_read, check_length(n_read, n_stated, sr))

    return Audio(sr, n_channels, n_expected, name[:32], blocks)


def _opened(file: int, size: int) -> Any:
    import av

    av.logging.set_level(av.logging.PANIC)
    # FFmpeg sees this one file without a name, opens nothing by itself, and runs no decoder of pictures.
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "codec_whitelist": _audio_codecs()}
    try:
        return av.open(View(file, size), container_options=options, metadata_errors="ignore", io_open=_refuse)
    except (av.error.FFmpegError, ValueError, OverflowError):
        return None


@cache
def _audio_codecs() -> str:
    import av

    names = []
    for name in av.codecs_available:
        # Some are encoders only.
        with suppress(av.error.FFmpegError, ValueError):
            names += [name] * (av.Codec(name, "r").type == "audio")
    return ",".join(sorted(names))


def _refuse(*_: object) -> None:
    raise PermissionError("a clip opens no other file")


def _stream(container: Any) -> Any:
    if not container.streams.audio:
        raise ClipError("it holds no audio")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise ClipError(CONVERT)
    stream.codec_context.thread_count = 1
    return stream


def _frames(container: Any, stream: Any, bare: bool = False) -> Iterator[Any]:
    """Yield the decoded frames; damaged packets are skipped, as FFmpeg does."""
    import av

    n_good = n_bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, IndexError):
            # PyAV fails at the end of a file in which another stream began on the way; ours is complete then.
            return
        if packet is None:
            return
        try:
            for frame in packet.decode():
                n_good += 1
                yield frame
        except av.error.FFmpegError:
            n_bad += 1
            if bare and n_bad > n_good + 8:
                raise ClipError("it is not audio, or damaged: most of it cannot be decoded") from None


def _samples(frames: Iterator[Any], sr: int, n_channels: int) -> Iterator[Float32]:
    """Yield the samples of frames, (n, n_channels), with full scale at 1."""
    for frame in frames:
        if (frame.sample_rate, len(frame.layout.channels)) != (sr, n_channels):
            raise ClipError("its sample rate or number of channels changes on the way")
        try:
            stored: npt.NDArray[Any] = frame.to_ndarray()
        except ValueError:  # PyAV has no array for samples of 64 bits
            raise ClipError(CONVERT) from None
        y = np.ascontiguousarray(stored.T) if frame.format.is_planar else stored.reshape(-1, n_channels)
        if y.dtype.kind == "f":
            # A sample that does not fit into float32 is refused for the clip as a whole, when its row is finished.
            with np.errstate(over="ignore", invalid="ignore"):
                y = y.astype(np.float32, copy=False)
            yield y
        elif y.dtype == np.uint8:
            yield (y.astype(np.float32) - np.float32(128)) / np.float32(128)
        else:
            yield y.astype(np.float32) * np.float32(2.0 ** (1 - 8 * y.itemsize))


def _trimmed(parts: Iterator[Float32], end: int) -> Iterator[Float32]:
    """Drop the samples behind `end`, unless there are too many for padding."""
    n_left = end
    behind: list[Float32] = []
    for part in parts:
        n_kept = max(0, min(n_left, len(part)))
        yield part[:n_kept]
        behind.append(part[n_kept:])
        n_left -= len(part)
        if -n_left > _MOST_PADDING:
            yield from behind
            behind.clear()


def _joined(parts: Iterator[Float32], n_samples: int) -> Iterator[Float32]:
    """Yield the same samples in blocks of so many or a few more; a part is often too short to be worth a step."""
    held: list[Float32] = []
    n_held = 0
    for part in parts:
        held.append(part)
        n_held += len(part)
        if n_held >= n_samples:
            yield np.concatenate(held)
            held, n_held = [], 0
    if n_held:
        yield np.concatenate(held)


def _n_expected(container: Any, stream: Any, sr: int) -> int:
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration and not container.streams.video:
        seconds = container.duration / 1e6
    else:
        return 0
    return max(0, round(seconds * sr)) if seconds < 1e8 else 0


def _container_name(kind: str, container: Any, file: int) -> str:
    if kind == "mov":
        brand = container.metadata.get("major_brand", "").strip()
        return _BRANDS.get(brand, _BRANDS.get(brand[:3], "MP4"))
    if kind == "matroska":
        return "WEBM" if b"webm" in os.pread(file, 64, 0) else "MKA"
    return kind.upper()

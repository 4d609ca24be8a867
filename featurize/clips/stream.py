"""Standard input: a WAV from a pipe, decoded as it arrives."""

from collections.abc import Iterator

import numpy as np

from featurize.clips.audio import BLOCK_SAMPLES, Audio, ClipError, Float32, check_sr

# A program that writes to a pipe does not know the length when it writes the header; it puts down as much as it can,
# from here on (sox 2 GiB less a page, ffmpeg and others 4 GiB).
_NO_LENGTH_BYTES = (1 << 31) - (1 << 16)
_SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


def open_stream(file: int) -> Audio:
    """Open a WAV that can be read once and from its start only.

    Parameters
    ----------
    file
        Descriptor of a pipe, or of a file at its start; it stays open.

    Returns
    -------
    Audio
        `n_samples` is 0 where the header does not know; `blocks` can be started once.

    Raises
    ------
    ClipError
        There is no WAV. What is wrong further on is raised from `blocks`.
    """
    import soundfile

    try:
        stream = soundfile.SoundFile(file, closefd=False)
    except (soundfile.LibsndfileError, OSError):
        raise ClipError("it is no WAV; pipe a WAV in, such as `sox in.mp3 -t wav - | ..`") from None
    sr, n_samples, name = stream.samplerate, stream.frames, f"{stream.format}/{stream.subtype}"
    check_sr(sr)
    if n_samples * stream.channels * _SAMPLE_BYTES.get(stream.subtype, 1) >= _NO_LENGTH_BYTES:
        n_samples = 0

    def blocks() -> Iterator[Float32]:
        room = np.empty((max(1, BLOCK_SAMPLES // stream.channels), stream.channels), np.float32)
        n_read = 0
        while True:
            try:
                n = len(stream.read(out=room))
            except soundfile.LibsndfileError as error:
                raise ClipError(f"it is damaged after {n_read / sr:.2f} s ({error.error_string})") from None
            n_read += n
            if n:
                yield room[:n]
            if n < len(room):
                break
        if n_read == 0:
            raise ClipError("it holds no samples")
        if n_read < n_samples:
            raise ClipError(f"it ends after {n_read / sr:.2f} s of the {n_samples / sr:.2f} s that its header states")

    return Audio(sr, n_samples, name, blocks, digest=lambda: "")

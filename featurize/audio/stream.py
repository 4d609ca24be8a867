"""Standard input: a WAV from a pipe, decoded as it arrives."""

from collections.abc import Iterator

import numpy as np

from featurize.audio.audio import BLOCK_SAMPLES, Audio, ClipError, Float32, check_length, check_sr
from featurize.audio.header import is_unknown

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
    if is_unknown(n_samples * stream.channels * _SAMPLE_BYTES.get(stream.subtype, 1)):
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
        audio.remark = check_length(n_read, n_samples, sr, stream.subtype not in _SAMPLE_BYTES)
        audio.n_decoded = n_read

    audio = Audio(sr, n_samples, name, blocks, digest=lambda: "")
    return audio

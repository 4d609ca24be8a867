"""wav_of(): the sound of a clip as a WAV that every browser plays, decoded as featurize decodes it."""

import io
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import soundfile

from cache.shared.errors import UserError
from featurize.audio.pieces import open_clip

# Seconds of a longer clip that are sent, around what its row shows.
LONGEST = 60.0
_MOST_CHANNELS = 2
# Browsers decode nothing below 3 kHz, and some nothing below 8.
_LOWEST_SR = 8_000


def wav_of(data: Path, path: str, duration: float, middle: float | None = None) -> bytes:
    """Decode a clip, which may be a segment, by its path in the cache; of a long one `LONGEST` as starts_at() says.

    Raises a UserError for the page if the path leads out of DATA, or the clip cannot be read.
    """
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        raise UserError("its path leads out of the folder of clips")
    with open_clip(str(data / path)) as audio:
        start = starts_at(duration, middle)
        first, last = round(start * audio.sr), round((start + min(duration, LONGEST)) * audio.sr) + audio.sr
        blocks = [playable(block) for _, block in audio.pieces([(first, last)])]
        if not blocks:
            raise UserError("it holds no samples")
        return encoded(np.concatenate(blocks)[: round(LONGEST * audio.sr)], audio.sr)


def starts_at(duration: float, middle: float | None = None) -> float:
    """Return where in a clip its WAV begins, in seconds, given the middle of what its row shows; None: its own."""
    middle = duration / 2 if middle is None else middle
    return max(0.0, min(middle - LONGEST / 2, duration - LONGEST))


def playable(block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a block of samples, (n, n_channels), with as many channels as a browser plays."""
    return block if block.shape[1] <= _MOST_CHANNELS else block.mean(axis=1, keepdims=True)


def encoded(samples: npt.NDArray[np.float32], sr: int) -> bytes:
    """Return samples, (n, n_channels), as a WAV of 16 bits."""
    # 16 bits hold nothing beyond full scale; not a number is silence.
    samples = np.nan_to_num(samples, posinf=0.0, neginf=0.0)
    if (factor := -(-_LOWEST_SR // sr)) > 1:
        import soxr

        samples, sr = soxr.resample(samples, sr, factor * sr), factor * sr
    peak = float(np.abs(samples).max(initial=0.0))
    out = io.BytesIO()
    soundfile.write(out, samples / max(peak, 1.0), sr, format="WAV", subtype="PCM_16")
    return out.getvalue()

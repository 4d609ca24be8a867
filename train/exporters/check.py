"""check(): an exported file, run as its user will run it, against featurize and the model it was made from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cache import Cache
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from cache.shared.types import Float32
from train.backend.types import Model
from train.exporters.formats import Outputs
from train.models.calibration import calibrated
from train.models.inference import forward

# Largest allowed difference between an exported file and the original, of features and of probabilities.
TOLERANCE = 1e-3
N_CHECKED = 32


class CheckedClip(NamedTuple):
    """A clip to check on: the input of the exported file, (n_samples,) or (128, 128, 1), and the true features."""

    path: str
    given: Float32
    features: Float32


def checked_clips(cache: Cache, settings: MelSettings | None, data: Path) -> list[CheckedClip]:
    """Read some clips of a cache, from the shortest to the longest; their paths are relative to `data`.

    With settings, for a file that takes waveforms, featurize reads the clips again; without, they are rows of the
    cache. Raises a UserError if none of the clips is there unchanged.
    """
    order = np.argsort(cache.columns["n_frames"], kind="stable")
    rows = order[np.unique(np.linspace(0, len(order) - 1, N_CHECKED).astype(int))]
    if settings is None:
        features = np.asarray(cache.X[rows], np.float32)
        return [CheckedClip(cache.paths[row], x, x) for row, x in zip(rows.tolist(), features, strict=True)]
    paths, clip_paths = cache.paths, cache.clip_paths
    clips = [
        _read_clip(settings, data, paths[row], clip_paths[cache.clips[row]], cache.columns["sha256"][row].decode())
        for row in rows.tolist()
    ]
    found = [clip for clip in clips if clip is not None]
    if not found:
        raise UserError(
            f"none of {len(clips)} clips of {cache.file} is unchanged in {data}, and an export is checked on them; say"
            " where they are with --data, name another cache with --cache, or export --input features"
        )
    return found


def _read_clip(settings: MelSettings, data: Path, path: str, clip: str, sha256: str) -> CheckedClip | None:
    """Read a row by its path; None if the clip that it shows, or is a window of, is not the one of a digest."""
    from featurize import featurize_clip
    from featurize.audio.audio import ClipError
    from featurize.audio.pieces import open_clip
    from featurize.audio.resample import mono_blocks

    try:
        with open_clip(str(data / clip)) as audio:
            if audio.sha256 != sha256:
                return None
        with open_clip(str(data / path)) as audio:
            waveform = np.concatenate([block.copy() for block in mono_blocks(audio, settings.sr)])
        return CheckedClip(path, waveform, featurize_clip(data / path, settings))
    except (ClipError, OSError):
        return None


def check(
    model: Model, temperature: float, clips: Sequence[CheckedClip], exported: Callable[[Float32], Outputs], failure: str
) -> dict[str, float]:
    """Return the largest absolute difference of each output of an exported file from the original, over all clips.

    The original is the run's model, calibrated with `temperature`; the file is a function of a batch to its outputs by
    name. Raises a UserError that begins with `failure` if a difference is more than `TOLERANCE`, or not a number.
    """
    probabilities = calibrated(forward(model)(np.stack([clip.features for clip in clips])), temperature)
    largest: dict[str, float] = {}
    for clip, expected in zip(clips, probabilities, strict=True):
        outputs = exported(clip.given[None])
        for name, true in (("features", clip.features), ("probabilities", expected)):
            if name not in outputs:
                continue
            difference = float(np.abs(outputs[name][0] - true).max())
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{failure}, its {name} of {clip.path} differ from the original's by {difference:.2g}, which is"
                    f" more than {TOLERANCE:g}; try another --format"
                )
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest

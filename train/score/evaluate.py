"""evaluate(): score a finished run again, on its own test clips or on another cache."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.cli import command_line, notice
from cache.shared.errors import UserError
from cache.shared.files import as_path
from cache.shared.segment import Crop
from train.dataset.splits import groups_of
from train.models.inference import forward_of, predict_clips
from train.runs.directory import Run, cache_for, open_run
from train.runs.results import Score
from train.runs.tables import read_split
from train.score.metrics import calibration, score


@dataclass(frozen=True)
class Evaluation:
    """The score of a run on a cache."""

    run: str
    cache: str
    scored: Literal["test split", "all clips"]  # which clips were scored
    n_seen: int  # how many of them were in the run's training or validation split, by their content
    score: Score
    calibration_error: float  # the expected one, see train.score.metrics.calibration()

    def __repr__(self) -> str:
        return f"<Evaluation: accuracy {self.score.accuracy:.3f} on {self.score.n} clips, {self.scored}>"

    def as_json(self) -> dict[str, object]:
        """Return what `--json` prints."""
        about = {"run": self.run, "cache": self.cache, "scored": self.scored, "n_seen": self.n_seen}
        return {**about, **asdict(self.score), "calibration_error": self.calibration_error}


def evaluate(folder: str | Path, cache_file: str | Path | None = None) -> Evaluation:
    """Score a finished run.

    On the cache that it was trained on, by default where it was, or one that has grown since, the run's own test clips
    are scored; on any other cache with the same feature settings and classes, all of its clips are. Raises a UserError
    if the run or the cache cannot be used, or they do not fit each other.
    """
    run = open_run(folder)
    file = None if cache_file is None else as_path(cache_file, "cache_file")
    otherwise = f"so say where it is: `{command_line('train', 'evaluate', run.folder, 'CACHE')}`"
    cache = cache_for(run, file, otherwise)
    its, own = cache.header.cropping, run.record.cropping
    if cache.n_longer and its != own:
        notice(
            f"warning: {cache.file} was made with {_crop(its)}, and {run.folder} trained with {_crop(own)}; featurize"
            " with that for a score to compare"
        )
    clips, scored, n_seen = _clips_to_score(run, cache)
    probabilities = predict_clips(forward_of(run), cache, clips, run.temperature)
    true, predicted = cache.clip_labels[clips], probabilities.argmax(axis=1)
    groups = groups_of(cache, run.record.group_by)[clips]
    return Evaluation(
        str(run.folder),
        str(cache.file),
        scored,
        n_seen,
        score(true, predicted, cache.class_names, groups),
        calibration(probabilities.max(axis=1), predicted == true, groups).error,
    )


def _crop(crop: Crop) -> str:
    options = {"--crop": crop.crop, "--overlap": crop.overlap, "--n-windows": crop.n_windows}
    n = {"middle": 1, "segments": 2, "loudest": 3}[crop.crop]
    return " ".join(f"{name} {value}" for name, value in [*options.items()][:n])


def _clips_to_score(run: Run, cache: Cache) -> tuple[npt.NDArray[np.intp], Literal["test split", "all clips"], int]:
    """Return the clips to score, which they are, and how many of them the run has seen."""
    known = read_split(run.folder)
    own = {(path, sha256) for path, sha256, split in known if split == "test"}
    seen = {sha256 for _, sha256, split in known if split != "test"}
    sha256 = cache.clip_sha256
    is_own = np.array([clip in own for clip in zip(cache.clip_paths, sha256, strict=True)])
    if own and is_own.sum() == len(own):
        return np.flatnonzero(is_own), "test split", 0
    if cache.fingerprint == run.record.cache.fingerprint:
        raise UserError(f"{run.folder} has no test split (it was trained with --test 0); give another cache to score")
    return np.arange(cache.n_clips), "all clips", sum(digest in seen for digest in sha256)

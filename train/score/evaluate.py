"""evaluate(): score a finished run again, on its own test clips or on another cache."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.errors import UserError
from train.dataset.splits import clip_groups
from train.models.forward import predict_rows
from train.models.temperature import calibrated
from train.runs.directory import Run, open_run
from train.runs.load import cache_for, load_model
from train.runs.tables import read_split
from train.score.metrics import calibration, score


def evaluate(folder: str | Path, cache_file: str | Path | None = None) -> dict[str, Any]:
    """Score a run.

    On the cache that it was trained on, or one that has grown since, the run's own test clips are scored; on any other
    cache with the same feature settings and classes, all of its clips are.

    Parameters
    ----------
    folder
        The run directory.
    cache_file
        None: the cache that the run was trained on, where it was.

    Returns
    -------
    dict
        What `train.score.metrics.score` says, with `run`, `cache`, `scored` ("test split" or "all clips") and `n_seen`:
        how many of the scored clips were in the run's training or validation split, by their content; and
        `calibration_error`, as `train.score.metrics.calibration` has it.

    Raises
    ------
    UserError
        The run or the cache cannot be used, or they do not fit each other.
    """
    run = open_run(Path(folder))
    file = None if cache_file is None else Path(cache_file)
    cache = cache_for(run, file, f"so say where it is: `python -m train evaluate {folder} CACHE`")
    rows, scored, n_seen = _rows_to_score(run, cache)
    probabilities = calibrated(predict_rows(load_model(run), cache.X, rows), run.temperature)
    predicted = probabilities.argmax(axis=1)
    groups = clip_groups(cache.paths, cache.columns["sha256"], run.record.options["group_by"])
    return {
        "run": str(folder),
        "cache": str(cache.file),
        "scored": scored,
        "n_seen": n_seen,
        **score(cache.labels[rows], predicted, cache.class_names, groups[rows]),
        "calibration_error": calibration(probabilities.max(axis=1), predicted == cache.labels[rows], groups[rows])[
            "error"
        ],
    }


def _rows_to_score(run: Run, cache: Cache) -> tuple[npt.NDArray[np.intp], str, int]:
    """Return the rows to score, what they are, and how many of them the run has seen."""
    clips = read_split(run.folder)
    own = {(path, sha256) for path, sha256, split in clips if split == "test"}
    seen = {sha256 for _, sha256, split in clips if split != "test"}
    sha256 = [digest.decode() for digest in cache.columns["sha256"].tolist()]
    is_own = np.array([clip in own for clip in zip(cache.paths, sha256, strict=True)])
    if own and is_own.sum() == len(own):
        return np.flatnonzero(is_own), "test split", 0
    if cache.fingerprint == run.record.cache.fingerprint:
        raise UserError(f"{run.folder} has no test split (it was trained with --test 0); give another cache to score")
    return np.arange(len(cache)), "all clips", sum(digest in seen for digest in sha256)

"""Probabilities from a trained model: for rows of a cache, and for audio files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.terminal import UserError
from train.runs import Run

BATCH_SIZE = 32

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What became of one file: a probability for each class by name, or the reason why there are none."""

    path: Path
    probabilities: dict[str, float]
    reason: str = ""

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def predict_rows(model: Any, X: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> Probabilities:
    """Return the model's probabilities for some rows of a cache, shape (n_rows, n_classes)."""
    X = np.asarray(X)
    probabilities_of = forward(model)
    probabilities = np.empty((len(rows), model.output_shape[1]), np.float32)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        probabilities[batch] = probabilities_of(X[rows[batch]])
    return probabilities


def forward(model: Any) -> Callable[[npt.NDArray[Any]], Probabilities]:
    """Return the model as a function of spectrograms, shape (n, 128, 128, 1) -> (n, n_classes), traced once for any n.

    Keras's own predict_on_batch() is traced anew for every n, the last batch of a folder for one.
    """
    from train.backend import tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    return lambda batch: np.asarray(traced(batch.astype(np.float32, copy=False)))


def predict_files(run: Run, paths: Iterable[Path]) -> Iterator[Prediction]:
    """Classify audio files with the features that the run was trained on, in order, as they are computed.

    Parameters
    ----------
    run
        A finished run.
    paths
        Audio files, and folders, which stand for the audio files directly in them.

    Yields
    ------
    Prediction
        One a file.

    Raises
    ------
    UserError
        The features of the run are not the ones that this program computes, or its model cannot be loaded.
    """
    from featurize.mel import FEATURE_VERSION, MelSettings
    from train.load import load_model

    if run.feature_version != FEATURE_VERSION:
        raise UserError(
            f"{run.folder} was trained on version {run.feature_version} of the features, and this program computes "
            f"version {FEATURE_VERSION}; run `python -m featurize` and train again"
        )
    settings = MelSettings(**run.settings)  # type: ignore[arg-type]  # checked by the class itself
    probabilities_of = forward(load_model(run))
    rows = (_features(path, reason, settings, run.dtype) for path, reason in _files(paths))
    while batch := list(islice(rows, BATCH_SIZE)):
        good = [features for _, features, _ in batch if features is not None]
        probabilities = iter(probabilities_of(np.stack(good)).tolist() if good else ())
        for path, features, reason in batch:
            values = [] if features is None else next(probabilities)
            yield Prediction(path, dict(zip(run.class_names, values, strict=bool(values))), reason)


def predictions_as_json(run: Run, predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Return what `predict --json` prints."""
    clips, rejected = [], []
    for one in predictions:
        if one.probabilities:
            clips.append({"path": str(one.path), "class": one.class_name, "probabilities": one.probabilities})
        else:
            rejected.append({"path": str(one.path), "reason": one.reason})
    return {"run": str(run.folder), "clips": clips, "rejected": rejected}


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    from featurize.clips import audio_files

    for path in paths:
        if not path.is_dir():
            yield path, ""
            continue
        try:
            files = audio_files(path)
        except OSError as error:
            yield path, f"the folder cannot be read ({error.strerror})"
            continue
        yield from ((file, "") for file in files)
        if not files:
            yield path, "the folder has no audio file directly in it"


def _features(path: Path, reason: str, settings: Any, dtype: str) -> tuple[Path, npt.NDArray[Any] | None, str]:
    from featurize.audio import ClipError
    from featurize.batch import featurize_clip

    if reason:
        return path, None, reason
    try:
        # Through the type of the cache, so that a row is to the bit what the model saw in training.
        return path, featurize_clip(path, settings).astype(dtype).astype(np.float32), ""
    except ClipError as error:
        return path, None, str(error)
    except OSError as error:
        return path, None, error.strerror or str(error)

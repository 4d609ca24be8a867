"""nearest_clips(): the clips that sound to a network most like a tested one, to compare with it by ear."""

import numpy as np

from cache import Cache
from cache.shared.types import Float32, Rows
from train.backend.types import Model
from train.dataset.rows import mean_by_clip
from train.models.inference import forward, predict_rows
from train.models.recipes import build_model, input_columns

# Clips of the label's class, and as many of the other.
N_NEAREST = 3
# Tested clips at a time, against all clips of a class: 100 MB for 100,000 of them.
_N_AT_A_TIME = 256


def nearest_clips(model: Model, name: str, cache: Cache, clips: Rows, probabilities: Float32) -> Rows:
    """Return the clips that are nearest to each tested one, the nearest first, shape (n, 2 * N_NEAREST).

    Nearest are the features that the model's last layer turns into probabilities, by the cosine between them. The model
    was trained without the tested clips, by the recipe of this name; the probabilities are theirs, shape (n,
    n_classes). Clips of the same label come first, then those of the most probable other class; -1 where
    there are no more.
    """
    nearest = np.full((len(clips), 2, N_NEAREST), -1, np.intp)
    if not len(clips):
        return nearest.reshape(0, 2 * N_NEAREST)
    features, labels = _features(model, name, cache), cache.clip_labels
    others = np.array(probabilities)
    others[np.arange(len(clips)), labels[clips]] = -1
    wanted = np.stack([labels[clips], others.argmax(axis=1)], axis=1)
    for label in range(len(cache.class_names)):
        there, (tests, sides) = np.flatnonzero(labels == label), np.nonzero(wanted == label)
        for start in range(0, len(tests), _N_AT_A_TIME):
            test, side = tests[start : start + _N_AT_A_TIME], sides[start : start + _N_AT_A_TIME]
            likeness = features[clips[test]] @ features[there].T
            likeness[clips[test][:, None] == there] = -np.inf
            for place in range(N_NEAREST):
                best = np.arange(len(test)), likeness.argmax(axis=1)
                nearest[test, side, place] = np.where(np.isfinite(likeness[best]), there[best[1]], -1)
                likeness[best] = -np.inf
    return nearest.reshape(len(clips), -1)


def _features(model: Model, name: str, cache: Cache) -> Float32:
    """Return the input of the last layer for every clip, of length 1, shape (n_clips, n_features)."""
    from train.backend.keras import keras

    n_columns = input_columns(name, int(cache.columns["n_frames"].max()))
    if n_columns < model.input_shape[2]:
        # The rows of a whole cache are many, and a copy on fewer columns computes the same.
        weights = model.get_weights()
        model = build_model(name, model.output_shape[1], n_columns=n_columns)
        model.set_weights(weights)
    features_of = forward(keras.Model(model.inputs[0], model.layers[-1].input))
    of_rows = predict_rows(lambda batch: features_of(batch[:, :, :n_columns]), cache.X, np.arange(len(cache)))
    features = mean_by_clip(of_rows, cache.clips)
    norms = np.linalg.norm(features, axis=1, keepdims=True).astype(np.float32)
    unit: Float32 = features / np.maximum(norms, np.float32(1e-12))
    return unit

"""nearest.csv: the clips most like a tested one, by the features below the last layer, as scikit-learn finds them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from cache import open_cache
from cache.shared.errors import UserError
from tests.helpers.tables import predictions, table
from tests.helpers.tiny import build_tiny
from train.models.inference import N_NEAREST, nearest_clips
from train.models.recipes import build_model
from train.runs.tables import read_nearest


def features_of(model: Any, X: np.ndarray) -> np.ndarray:
    """The network layer by layer, without its last one."""
    from train.backend.keras import keras

    return np.asarray(keras.Model(model.inputs[0], model.layers[-1].input)(np.asarray(X, np.float32), training=False))


def nearest_by_cosine(features: np.ndarray, of: int, among: np.ndarray) -> list[int]:
    among = among[among != of]
    found = NearestNeighbors(n_neighbors=N_NEAREST, metric="cosine").fit(features[among])
    return among[found.kneighbors(features[[of]], return_distance=False)[0]].tolist()


@pytest.mark.parametrize("name", ["baseline", "compact"])
def test_nearest_are_the_clips_that_scikit_learn_finds_of_the_label_and_of_the_other_class(
    name: str, tones_cache: Path
) -> None:
    cache, rng = open_cache(tones_cache), np.random.default_rng(0)
    model, rows = build_model(name, 3), np.arange(0, 48, 5)
    probabilities = rng.dirichlet(np.ones(3), len(rows)).astype(np.float32)
    features, found = features_of(model, cache.X), nearest_clips(model, name, cache, rows, probabilities)
    for row, p, near in zip(rows.tolist(), probabilities, found, strict=True):
        label = cache.labels[row]
        other = max({0, 1, 2} - {label}, key=lambda which: p[which])
        for which, some in zip((label, other), np.split(near, 2), strict=True):
            expected = nearest_by_cosine(features, row, np.flatnonzero(cache.labels == which))
            # Two that are as near to the last digit may come in either order.
            unit = features / np.linalg.norm(features, axis=1, keepdims=True)
            np.testing.assert_allclose(unit[some] @ unit[row], unit[expected] @ unit[row], rtol=0, atol=1e-5)


def test_a_fit_keeps_those_of_its_test_clips_and_its_model_gives_the_same(run: Path, tones_cache: Path) -> None:
    from train.backend.keras import keras

    cache, found = open_cache(tones_cache), read_nearest(run)
    assert [*found] == [row["path"] for row in predictions(run)]
    features = features_of(keras.models.load_model(run / "model.keras"), cache.X)
    for path, near in list(found.items())[:4]:
        assert len(near) == 2 * N_NEAREST
        row = cache.paths.index(path)
        same = np.flatnonzero(cache.labels == cache.labels[row])
        assert near[:N_NEAREST] == [cache.paths[i] for i in nearest_by_cosine(features, row, same)]


def test_a_class_of_few_clips_has_fewer_and_none_is_named_twice(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    object.__setattr__(cache, "y", np.eye(3, dtype=np.float32)[[0] * 45 + [1, 1, 2]])
    p = np.tile(np.float32([0.3, 0.6, 0.1]), (2, 1))
    first, last = nearest_clips(build_tiny(3, None), "tiny", cache, np.array([0, 47]), p).tolist()
    assert sorted(first[3:]) == [-1, 45, 46]
    assert last[:3] == [-1, -1, -1]
    assert sorted(last[3:]) == [-1, 45, 46]


def test_a_table_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nearest\.csv is missing"):
        read_nearest(tmp_path)
    for text, reason in (("path\na\n", "its column nearest is missing"), ("path,nearest\na\n", "row 1 has 1 cell")):
        (tmp_path / "nearest.csv").write_text(text)
        with pytest.raises(UserError, match=rf"nearest\.csv is damaged: {reason}"):
            read_nearest(tmp_path)


def test_a_path_in_the_table_is_that_of_the_cache(run: Path, tones_cache: Path) -> None:
    paths = {*open_cache(tones_cache).paths}
    assert {cell for row in table(run / "nearest.csv") for cell in row.values()} <= paths

"""The model that windows are classified with is the same function as the one that was trained, on fewer columns."""

from typing import Any

import numpy as np
import pytest

from train.models.narrow import _lean, narrow
from train.models.recipes import build_model


def trained(name: str) -> Any:
    model = build_model(name, 3)
    rng = np.random.default_rng(0)
    # Moving variances must stay positive.
    model.set_weights([w + np.abs(rng.normal(0, 0.05, w.shape)) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("name", ["baseline", "compact"])
def test_windows_get_the_probabilities_of_the_whole_model_in_less_work(name: str) -> None:
    model = trained(name)
    X = np.zeros((5, 128, 128, 1), np.float32)
    X[:, :, :32] = np.random.default_rng(1).random((5, 128, 32, 1))
    expected = np.asarray(model(X, training=False))
    np.testing.assert_allclose(narrow(model, name, 32)(X), expected, rtol=0, atol=1e-5)
    assert _lean(model, name, 32).input_shape[2] <= 48


def test_a_model_that_is_not_its_recipe_is_taken_as_it_is() -> None:
    model = trained("baseline")
    X = np.random.default_rng(1).random((2, 128, 128, 1)).astype(np.float32)
    X[:, :, 32:] = 0
    expected = np.asarray(model(X, training=False))
    for name in ("compact", "no such recipe"):
        np.testing.assert_allclose(narrow(model, name, 32)(X), expected, rtol=0, atol=1e-5)
    compact = trained("compact")
    np.testing.assert_allclose(
        narrow(compact, "baseline", 32)(X), np.asarray(compact(X, training=False)), rtol=0, atol=1e-5
    )

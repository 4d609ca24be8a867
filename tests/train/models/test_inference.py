"""The forward pass: the other clips of a batch decide nothing, and neither do columns of padding that it leaves out."""

from typing import Any

import numpy as np
import pytest

from train.models.inference import BATCH_SIZE, forward, narrow_copy, narrow_forward
from train.models.recipes import RECIPES, build_model


@pytest.mark.parametrize("name", RECIPES)
def test_a_clip_gets_the_same_probabilities_to_the_bit_at_every_place_and_alone(name: str) -> None:
    probabilities_of = forward(build_model(name, 3))
    X = np.random.default_rng(0).random((BATCH_SIZE, 128, 128, 1), dtype=np.float32)
    expected = probabilities_of(X)
    for n in (1, BATCH_SIZE - 1):
        np.testing.assert_array_equal(probabilities_of(X[-n:]), expected[-n:])
    for first in (1, 5, BATCH_SIZE // 2, BATCH_SIZE - 1):
        np.testing.assert_array_equal(probabilities_of(np.roll(X, first, axis=0)), np.roll(expected, first, axis=0))


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
    np.testing.assert_allclose(narrow_forward(model, name, 32)(X), expected, rtol=0, atol=1e-5)
    copy = narrow_copy(model, name, 32)
    assert copy is not None
    assert copy.input_shape[2] <= 48


def test_a_model_that_is_not_its_recipe_is_taken_as_it_is() -> None:
    model = trained("baseline")
    X = np.random.default_rng(1).random((2, 128, 128, 1)).astype(np.float32)
    X[:, :, 32:] = 0
    expected = np.asarray(model(X, training=False))
    for name in ("compact", "no such recipe"):
        np.testing.assert_allclose(narrow_forward(model, name, 32)(X), expected, rtol=0, atol=1e-5)
    compact = trained("compact")
    np.testing.assert_allclose(
        narrow_forward(compact, "baseline", 32)(X), np.asarray(compact(X, training=False)), rtol=0, atol=1e-5
    )

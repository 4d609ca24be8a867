"""The forward pass: who is in a batch with a clip, and where, decides nothing."""

import numpy as np
import pytest

from train.models.forward import BATCH_SIZE, forward
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

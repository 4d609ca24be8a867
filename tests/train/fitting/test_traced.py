"""A model that an earlier fit has trained is trained again as if it were new."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache import open_cache
from tests.helpers.tiny import OF_FIT
from train.backend.keras import seed_everything
from train.fitting.loop import train_by_recipe
from train.fitting.options import Options
from train.fitting.traced import as_if_new


def weights_after(cache: Any, options: Options, rows: Any) -> list[np.ndarray]:
    seed_everything(options.seed, options.deterministic)
    model, _, _ = train_by_recipe(cache, options, rows, rows[:0])
    return [np.asarray(weight) for weight in model.get_weights()]


@pytest.mark.parametrize("name", ["tiny", "baseline", "compact"])
def test_a_fit_after_another_comes_to_what_it_comes_to_alone(tiny: str, tones_cache: Any, name: str) -> None:
    cache = open_cache(tones_cache)
    options = Options(**OF_FIT | {"model": name, "epochs": 1})
    rows = np.arange(0, 48, 2)
    alone = weights_after(cache, options, rows)
    other = weights_after(cache, replace(options, seed=1), rows + 1)
    again = weights_after(cache, options, rows)
    assert any(not np.array_equal(a, b) for a, b in zip(alone, other, strict=True))
    for a, b in zip(alone, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fits_that_differ_in_their_seeds_alone_share_what_is_traced(tiny: str) -> None:
    options = Options(**OF_FIT)
    model = as_if_new(options, 3, 10, 16)
    assert as_if_new(replace(options, seed=7), 3, 10, 16) is model
    assert as_if_new(replace(options, learning_rate=0.5), 3, 10, 16) is not model

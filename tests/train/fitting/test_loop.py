"""A step does what Keras's own does, and a model that an earlier fit has trained is trained again as if it were new."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache import open_cache
from tests.helpers.tiny import OF_FIT, build_tiny
from train.backend.keras import reseed, seed_everything
from train.fitting.loop import compile_steps, compiled_for, train_by_recipe
from train.fitting.options import Options
from train.models.recipes import RECIPES, build_to_train

N, BATCH_SIZE = 20, 8
SIZES = [range(start, min(N, start + BATCH_SIZE)) for start in range(0, N, BATCH_SIZE)]


def model_and_clips(name: str) -> tuple[Any, Any, Any, Any]:
    seed_everything(0, deterministic=False)
    model = build_to_train(name, 3, None, 100, 128)
    # Adam and Muon make much of gradients that are rounding alone.
    model.compile("sgd", model.loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    y = np.eye(3, dtype=np.float32)[rng.integers(3, size=N)]
    reseed(model, 0, 0)
    return model, rng.random((N, 128, model.input_shape[2], 1), np.float32), y, rng.uniform(0.5, 2, N).astype("f")


@pytest.mark.parametrize("name", ["tiny", "compact"])
def test_steps_of_training_leave_the_weights_that_kerass_train_on_batch_leaves(tiny: str, name: str) -> None:
    model, X, y, clip_weights = model_and_clips(name)
    compiled = compile_steps(model)
    for rows in SIZES:
        loss, _ = compiled.train(X[rows], y[rows], clip_weights[rows])
    theirs, *_ = model_and_clips(name)
    for rows in SIZES:
        theirs.reset_metrics()
        expected = theirs.train_on_batch(X[rows], y[rows], sample_weight=clip_weights[rows], return_dict=True)
    assert float(loss) == pytest.approx(float(expected["loss"]), rel=1e-5)
    for ours, weight in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, weight, atol=1e-5)


def test_a_score_is_that_of_kerass_evaluate_and_moves_no_weight(tiny: str) -> None:
    model, X, y, _ = model_and_clips(tiny)
    before = model.get_weights()
    loss, p = compile_steps(model).score(X, y, np.ones(N, np.float32))
    expected = model.evaluate(X, y, batch_size=N, verbose=0, return_dict=True)
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-5)
    assert np.mean(np.argmax(p, axis=1) == y.argmax(axis=1)) == pytest.approx(expected["accuracy"])
    for ours, weight in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, weight)


def test_batches_of_another_size_are_not_traced_again(tiny: str) -> None:
    model, X, y, clip_weights = model_and_clips(tiny)
    step: Any = compile_steps(model).train
    for rows in SIZES:
        step(X[rows], y[rows], clip_weights[rows])
    assert step.experimental_get_tracing_count() == 1


def weights_after(cache: Any, options: Options, rows: Any) -> list[np.ndarray]:
    seed_everything(options.seed, options.deterministic)
    return train_by_recipe(cache, options, rows, rows[:0]).model.get_weights()


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
    first = compiled_for(options, 3, 10, 16)
    assert compiled_for(replace(options, seed=7), 3, 10, 16).train is first.train
    assert compiled_for(replace(options, learning_rate=0.5), 3, 10, 16).train is not first.train


def test_a_fit_builds_the_model_to_train_and_the_one_to_keep_and_the_next_fit_only_the_latter(
    tiny: str, tones_cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    counted = replace(RECIPES[tiny], build=lambda *given: built.append(given) or build_tiny(*given))
    monkeypatch.setitem(RECIPES, tiny, counted)
    options, rows = Options(**OF_FIT | {"epochs": 1}), np.arange(0, 48, 2)
    for n_expected in (2, 3):
        weights_after(open_cache(tones_cache), options, rows)
        assert len(built) == n_expected

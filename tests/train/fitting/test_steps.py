"""A step does what Keras's own does."""

from typing import Any

import numpy as np
import pytest

from train.backend.keras import reseed, seed_everything
from train.fitting.steps import steps
from train.models.narrow import build_to_train

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
    for rows in SIZES:
        loss, _ = steps(model).train(X[rows], y[rows], clip_weights[rows])
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
    loss, n_right = steps(model).score(X, y, np.ones(N, np.float32))
    expected = model.evaluate(X, y, batch_size=N, verbose=0, return_dict=True)
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-5)
    assert int(n_right) == round(expected["accuracy"] * N)
    for ours, weight in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, weight)


def test_batches_of_another_size_are_not_traced_anew(tiny: str) -> None:
    model, X, y, clip_weights = model_and_clips(tiny)
    for rows in SIZES:
        steps(model).train(X[rows], y[rows], clip_weights[rows])
    assert steps(model).train.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]

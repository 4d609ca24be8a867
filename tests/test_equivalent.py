"""What a model is trained through is the same function of the same variables as the model that is saved."""

from typing import Any

import numpy as np
import pytest

from train.backend import keras
from train.equivalent import equivalent, narrowest
from train.models import build_model, build_to_train


def clips(n: int, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n_frames)
    X = np.zeros((n, 128, 128, 1), np.float32)
    X[:, :, :n_frames] = rng.random((n, 128, min(n_frames, 128), 1), np.float32)
    return X, np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]


def trained(name: str) -> Any:
    """A model none of whose weights is at its initial value: biases start at 0, where padding looks like zeros."""
    model = build_model(name, 3)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module", params=["baseline", "dropout"])
def plain(request: pytest.FixtureRequest) -> Any:
    return trained(request.param)


def gradients(model: Any, variables: Any, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        probabilities = model(X, training=False)
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, probabilities))
    return np.asarray(probabilities), [np.asarray(g) for g in tape.gradient(loss, variables)]


@pytest.mark.parametrize("n_frames", [1, 31, 32, 33, 61, 90, 128, 900])
def test_function_and_gradients_are_the_plain_models(plain: Any, n_frames: int) -> None:
    X, y = clips(3, n_frames)
    spared = equivalent(plain, n_frames)
    n_columns = spared.input_shape[2]
    assert (X[:, :, n_columns:] == 0).all()
    variables = [v.value for v in plain.trainable_variables]
    expected, expected_gradients = gradients(plain, variables, X, y)
    probabilities, found_gradients = gradients(spared, variables, X[:, :, :n_columns], y)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    for found, wanted in zip(found_gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max() + 1e-7)


def test_one_second_takes_a_third_of_the_columns_and_long_clips_take_all() -> None:
    baseline = build_model("baseline", 3)
    assert narrowest(baseline, 32).n_columns == 44
    assert narrowest(baseline, 128).n_columns == narrowest(baseline, 4000).n_columns == 128
    widths = [narrowest(baseline, n).n_columns for n in range(1, 129)]
    assert widths == sorted(widths)


def test_it_has_the_very_variables_of_the_plain_model_in_their_order(plain: Any) -> None:
    spared = equivalent(plain, 32)
    assert [id(v) for v in spared.weights] == [id(v) for v in plain.weights]
    assert [id(v) for v in spared.trainable_variables] == [id(v) for v in plain.trainable_variables]


def test_training_through_it_is_training_the_plain_model() -> None:
    X, y = clips(8, 32)
    weights = trained("baseline").get_weights()
    results = []
    for model in (build_model("baseline", 3, 1e-3), build_to_train("baseline", 3, 1e-3, 3, 32)):
        model.set_weights(weights)
        losses = [model.train_on_batch(X[:, :, : model.input_shape[2]], y)[0] for _ in range(3)]
        results.append((losses, model.get_weights()))
    (expected, expected_weights), (losses, found_weights) = results
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    for found, wanted, before in zip(found_weights, expected_weights, weights, strict=True):
        # Adam's first steps are the sign of the gradient times the learning rate, so where a gradient is nearly 0
        # rounding decides; on the whole the weights have gone the same way.
        moved, other = (wanted - before).ravel(), (found - before).ravel()
        assert np.dot(moved, other) > 0.99 * np.linalg.norm(moved) * np.linalg.norm(other)


def test_adam_in_one_pass_is_kerass_adam() -> None:
    from train.adam import Adam

    rng = np.random.default_rng(0)
    steps = [rng.normal(0, 10.0**-i, (7, 5)).astype(np.float32) for i in range(6)]
    results = []
    for optimizer in (keras.optimizers.Adam(0.01), Adam(0.01)):
        variable = keras.Variable(np.ones((7, 5), np.float32))
        for gradient in steps:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        results.append([np.asarray(v) for v in (variable, *optimizer.variables)])
    for ours, kerass in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(ours, kerass, rtol=1e-5, atol=1e-7)

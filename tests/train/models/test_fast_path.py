"""The fast path is the same function of the same weights as the model that is saved, and is trained as it."""

from typing import Any

import numpy as np
import pytest

from train.backend.keras import keras
from train.models.fast_path import fast_to_train, fewest_columns
from train.models.recipes import RECIPES, build_model, build_to_train

NAMES = [name for name, recipe in RECIPES.items() if recipe.fast_path]


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


def gradients(model: Any, variables: Any, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        probabilities = model(X, training=False)
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, probabilities))
    return np.asarray(probabilities), [np.asarray(g) for g in tape.gradient(loss, variables)]


def by_column(kernel: np.ndarray, n_mels: int, n_filters: int) -> np.ndarray:
    """The first Dense's kernel as (mel, column, what one column has)."""
    return kernel.reshape(n_mels, -1, n_filters * kernel.shape[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_frames", [1, 31, 32, 33, 61, 90, 128, 900])
def test_function_and_gradients_are_the_plain_models(name: str, n_frames: int) -> None:
    X, y = clips(3, n_frames)
    plain = trained(name)
    pools = [layer for layer in plain.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    _, n_mels, _, n_filters = pools[-1].output.shape
    expected, expected_gradients = gradients(plain, [v.value for v in plain.trainable_variables], X, y)
    _, n_edge, n_alike = fewest_columns(plain, n_frames)
    fast = fast_to_train(plain, n_frames)
    n_columns = fast.input_shape[2]
    assert (X[:, :, n_columns:] == 0).all()
    # In the order of the plain model, the kernel that stands in for the first Dense's in its place.
    (kernel,) = [v for v in fast.trainable_variables if not any(v is w for w in plain.weights)] or [None]
    variables = [v if v.trainable else kernel for v in plain.weights]
    probabilities, found_gradients = gradients(fast, [v.value for v in variables], X[:, :, :n_columns], y)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    if kernel is not None:
        found = by_column(found_gradients[2 * len(pools)], n_mels, n_filters)
        n_clip = found.shape[1] - 1 - n_edge
        # One column stands for all alike ones, so its gradient is compared with that of each of them.
        repeats = [1] * n_clip + [n_alike] + [1] * n_edge
        found_gradients[2 * len(pools)] = np.repeat(found, repeats, axis=1).reshape(-1, kernel.shape[1])
    for found, wanted in zip(found_gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max() + 1e-7)


def test_one_second_takes_a_third_of_the_columns_and_long_clips_take_all() -> None:
    baseline = build_model("baseline", 3)
    assert fewest_columns(baseline, 32).n_input == 44
    assert fewest_columns(baseline, 128).n_input == fewest_columns(baseline, 4000).n_input == 128
    widths = [fewest_columns(baseline, n).n_input for n in range(1, 129)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_and_takes_the_weights_of_the_plain_model(name: str) -> None:
    plain = trained(name)
    weights = plain.get_weights()
    fast = fast_to_train(plain, 32)
    for found, wanted in zip(fast.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)
    others = [w + 1 for w in weights]
    fast.set_weights(others)
    for found, wanted in zip(fast.get_weights(), others, strict=True):
        np.testing.assert_array_equal(found, wanted)


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
        assert np.linalg.norm(other) == pytest.approx(np.linalg.norm(moved), rel=0.02)

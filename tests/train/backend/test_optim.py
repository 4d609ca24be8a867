"""The optimisers and the normalisation compute what Keras's do; Muon takes convolutions' kernels as matrices."""

from typing import Any

import numpy as np
import pytest

from train.backend.keras import Adam, BatchNormalization, Muon, keras, tf


def after_steps(optimizer: Any, weights: list[Any], gradients: list[list[Any]]) -> list[Any]:
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    variables = [keras.Variable(w, name=name) for w, name in zip(weights, ("kernel", "dense", "bias"), strict=True)]
    for of_step in gradients:
        optimizer.apply(of_step, variables)
    return [np.asarray(v) for v in variables]


def test_steps_and_their_decay_are_those_that_keras_takes_on_matrices() -> None:
    rng = np.random.default_rng(0)
    shapes = (3, 3, 8, 16), (16, 3), (3,)
    weights, *gradients = ([rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(5))
    settings = {"learning_rate": 0.02, "weight_decay": 0.3, "adam_weight_decay": 0.5, "momentum": 0.9}
    ours = after_steps(Muon(**settings), weights, gradients)

    def as_matrices(arrays: list[Any]) -> list[Any]:
        return [arrays[0].reshape(-1, 16), *arrays[1:]]

    plain = keras.optimizers.Muon(**settings, exclude_layers=["dense"])
    theirs = after_steps(plain, as_matrices(weights), [as_matrices(of_step) for of_step in gradients])
    for our, their in zip(as_matrices(ours), theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-4)


def test_adam_in_one_pass_is_kerass_adam() -> None:
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


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_is_keras_own_in_values_gradients_and_moving_statistics(training: bool) -> None:
    rng = np.random.default_rng(0)
    x, wanted = (tf.constant(rng.normal(3, 2, (4, 6, 5, 8)).astype(np.float32)) for _ in range(2))
    weights = [rng.uniform(0.5, 2, 8) for _ in range(4)]
    results = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.9)
        layer.build(x.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * wanted)
        gradients = tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])
        results.append([np.asarray(value) for value in (y, *gradients, *layer.get_weights())])
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-4, atol=1e-4)

"""The optimiser of compact is Keras's Muon on the kernels of convolutions as matrices, and its AdamW on the rest."""

from typing import Any

import numpy as np

from train.backend.keras import keras
from train.backend.muon import Muon


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

"""A model without Keras, whose only weight is the number of its epochs."""

from types import SimpleNamespace
from typing import Any

import numpy as np


class Variable:
    """A variable of an optimiser."""

    def __init__(self) -> None:
        self.value = np.array(0)

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = value

    def __int__(self) -> int:
        return int(self.value)


class Counting:
    """A model that counts its epochs, of one optimiser step each, in its weights and in its optimiser."""

    def __init__(self) -> None:
        self.weights = [np.zeros(1)]
        self.trainable_variables: list[Any] = []
        steps = Variable()
        self.optimizer = SimpleNamespace(variables=[steps], iterations=steps, build=lambda _: None)

    def train(self) -> None:
        self.weights = [self.weights[0] + 1]
        self.optimizer.iterations.assign(self.optimizer.iterations.value + 1)

    def get_weights(self) -> list[np.ndarray]:
        return self.weights

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.weights = weights

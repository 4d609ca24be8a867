"""Types: what the rest of train uses of a Keras model, for type checkers, without starting TensorFlow."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

Weights: TypeAlias = list[npt.NDArray[Any]]
# TensorFlow and Keras bring no types.
Tensor: TypeAlias = Any
Layer: TypeAlias = Any
Optimizer: TypeAlias = Any


class Model(Protocol):
    """A Keras model: spectrograms, shape (n, 128, n_columns, 1), to probabilities, shape (n, n_classes)."""

    name: str
    input_shape: tuple[int, ...]  # the first is None
    output_shape: tuple[int, ...]
    inputs: list[Tensor]
    layers: list[Layer]
    variables: list[Tensor]
    trainable_variables: list[Tensor]
    optimizer: Optimizer
    loss: Any
    compile: Callable[..., None]
    compute_loss: Callable[..., Tensor]
    count_params: Callable[[], int]
    get_weights: Callable[[], Weights]
    set_weights: Callable[[Weights], None]
    load_weights: Callable[..., None]
    save: Callable[..., None]
    export: Callable[..., None]
    summary: Callable[..., None]

    def __call__(self, X: Tensor, training: bool = False) -> Tensor:
        """Return the output for a batch."""

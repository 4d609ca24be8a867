"""A network that trains in no time, with everything that has a state: dropout and batch statistics."""

from collections.abc import Callable
from typing import Any

# A tenth of the baselines' own: all take longer than the rest of a tiny fit.
FEW_TREES = 10

# The options of crossval() and of fit().
OPTIONS: dict[str, Any] = {"model": "tiny", "epochs": 3, "batch_size": 8, "val": 0.2, "deterministic": True}
OF_FIT = {**OPTIONS, "test": 0.2}


def build_tiny(n_classes: int, learning_rate: float | None) -> Any:
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((128, 128, 1)),
            layers.AveragePooling2D(8),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01 if learning_rate is None else learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def knowing_tiny(run: Callable[[Any], Any], job: Any) -> Any:
    """Run a job in a process that does not know the model yet, and grows more trees than tests do."""
    from train.models import recipes
    from train.score import baselines

    recipes.RECIPES["tiny"] = recipes.Recipe(build_tiny, epochs=3)
    baselines.N_TREES = FEW_TREES
    return run(job)

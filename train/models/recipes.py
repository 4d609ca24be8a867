"""build_model(): the compiled CNNs, by name.

Keras is imported inside the functions, so that the names are known without starting TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.shared.errors import UserError
from train.dataset.augment import Augmentation

N_MELS, N_COLUMNS = 128, 128
INPUT_SHAPE = (N_MELS, N_COLUMNS, 1)


@dataclass(frozen=True)
class Recipe:
    """How one model is built, and how it is trained when the user does not say.

    Attributes
    ----------
    build
        Takes the number of classes and the learning rate (None: its own) and returns the compiled model.
    epochs
        Default of `--epochs`.
    val
        Default of `--val` of a cross-validation.
    augmentation
        How the training rows are varied; None: not at all.
    adapts
        `build` also takes `n_steps`, over which the learning rate follows a schedule, and `n_columns`, the width of the
        input: the padding of short clips decides nothing, so the same weights are the same function at any width that
        holds the clips.
    spares
        It is trained through its equivalent; see train.models.equivalent.
    """

    build: Callable[..., Any]
    epochs: int
    val: float = 0.15
    augmentation: Augmentation | None = None
    adapts: bool = False
    spares: bool = False


def build_model(
    name: str, n_classes: int, learning_rate: float | None = None, n_steps: int = 1000, n_columns: int = N_COLUMNS
) -> Any:
    """Build one of the models in `RECIPES`.

    Parameters
    ----------
    name
        A key of `RECIPES`.
    n_classes
        Number of softmax outputs, at least 1.
    learning_rate
        Instead of the recipe's own.
    n_steps
        Optimiser steps that the training will take, for a model with a schedule.
    n_columns
        Width of the input if the model adapts to it; see input_columns().

    Returns
    -------
    keras.Model
        Built and compiled: input (batch, 128, 128, 1) in [0, 1], output (batch, n_classes) probabilities.

    Raises
    ------
    UserError
        There is no such model.
    """
    found = recipe(name)
    if not found.adapts:
        return found.build(n_classes, learning_rate)
    return found.build(n_classes, learning_rate, n_steps, n_columns)


def build_to_train(name: str, n_classes: int, learning_rate: float | None, n_steps: int, n_frames: int) -> Any:
    """Build what a model is trained through: the same weights in the same order, of as few columns as hold the clips.

    Parameters
    ----------
    name, n_classes, learning_rate, n_steps
        See build_model().
    n_frames
        Frames of the longest clip.

    Returns
    -------
    keras.Model
        As build_model() returns it, but that its input (batch, 128, n_columns, 1) lacks columns of padding alone.
    """
    model = build_model(name, n_classes, learning_rate, n_steps, input_columns(name, n_frames))
    if not recipe(name).spares:
        return model
    from train.models.equivalent import equivalent

    return equivalent(model, n_frames)


def input_columns(name: str, n_frames: int) -> int:
    """Return the narrowest input for which a model can be built when no clip has more frames than `n_frames`."""
    if not recipe(name).adapts:
        return N_COLUMNS
    return min(N_COLUMNS, -(-n_frames // _COMPACT_STRIDE) * _COMPACT_STRIDE)


def recipe(name: str) -> Recipe:
    """Return the recipe of that name; a UserError lists the names there are."""
    if name not in RECIPES:
        raise UserError(f"there is no model {name!r}; there is {', '.join(RECIPES)}")
    return RECIPES[name]


def _baseline(n_classes: int, learning_rate: float | None) -> Any:
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(INPUT_SHAPE),
            layers.Conv2D(32, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(n_classes, activation="softmax"),
        ],
        name="baseline",
    )
    return _with_adam(model, learning_rate)


def _dropout(n_classes: int, learning_rate: float | None) -> Any:
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(INPUT_SHAPE),
            layers.Conv2D(32, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(128, (3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(n_classes, activation="softmax"),
        ],
        name="dropout",
    )
    return _with_adam(model, learning_rate)


def _with_adam(model: Any, learning_rate: float | None) -> Any:
    from train.backend.keras import keras

    optimizer = keras.optimizers.Adam() if learning_rate is None else keras.optimizers.Adam(learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def _compact(n_classes: int, learning_rate: float | None, n_steps: int, n_columns: int) -> Any:
    """Five convolutions, one that spans all that is left of the mel axis, then mean and maximum over the clip's frames.

    Where the features are silent in all bands, as in the padding, every layer's output is set to 0 and left out of the
    mean. So the width of the padding decides nothing, and neither does silence that was recorded with the clip.
    """
    from train.backend.keras import keras

    layers = keras.layers
    clip = keras.Input((N_MELS, n_columns, 1))
    # 1 for a column with any sound, else 0.
    sound = layers.MaxPooling2D((N_MELS, 1))(clip)
    sound = layers.ReLU(max_value=1.0)(layers.Rescaling(1e4)(sound))
    x = clip
    for n_filters, size, strides, pool in _COMPACT_BLOCKS:
        x = layers.Conv2D(n_filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        if strides[1] > 1:
            sound = layers.MaxPooling2D((1, strides[1]))(sound)
        x = _normalised(x, sound)
        if pool is not None:
            x, sound = layers.MaxPooling2D(pool)(x), layers.MaxPooling2D((1, pool[1]))(sound)
    # Where a pattern lies on the mel axis tells classes apart, so this axis is not averaged away.
    x = layers.Conv2D(128, (x.shape[1], 1), use_bias=False, kernel_initializer="he_normal")(x)
    frames = layers.Reshape((-1, 128))(_normalised(x, sound))
    share = layers.Softmax(axis=1)(layers.Rescaling(100.0, offset=-100.0)(layers.Reshape((-1, 1))(sound)))
    mean = layers.Flatten()(layers.Dot(axes=1)([share, frames]))
    x = layers.Concatenate()([mean, layers.GlobalMaxPooling1D()(frames)])
    x = layers.Dropout(0.3)(x)
    model = keras.Model(clip, layers.Dense(n_classes, activation="softmax")(x), name="compact")
    return _with_schedule(model, 2e-3 if learning_rate is None else learning_rate, n_steps)


def _normalised(x: Any, sound: Any) -> Any:
    from train.backend.keras import keras

    layers = keras.layers
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return layers.Multiply()([x, sound])


def _with_schedule(model: Any, learning_rate: float, n_steps: int) -> Any:
    """Compile with AdamW, a tenth of the steps to warm up and a half cosine from there to 0."""
    from train.backend.keras import keras

    n_warm = max(1, n_steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 50, max(1, n_steps - n_warm), warmup_target=learning_rate, warmup_steps=n_warm
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


# Filters, kernel, strides, pool of each block, as (mel, time); the mel axis, which has bands to spare, shrinks first.
_COMPACT_BLOCKS: tuple[tuple[int, int, tuple[int, int], tuple[int, int] | None], ...] = (
    (24, 5, (2, 1), None),
    (32, 3, (2, 2), (2, 1)),
    (64, 3, (1, 1), (2, 2)),
    (96, 3, (1, 1), (1, 2)),
    (128, 3, (1, 1), None),
)
_COMPACT_STRIDE = 8  # of all blocks, along time

RECIPES: dict[str, Recipe] = {
    "baseline": Recipe(_baseline, epochs=15, spares=True),
    "dropout": Recipe(_dropout, epochs=20, spares=True),
    # The schedule ends at a learning rate of 0, so the last epoch is the one to keep and all clips can train.
    "compact": Recipe(_compact, epochs=60, val=0.0, augmentation=Augmentation(), adapts=True),
}

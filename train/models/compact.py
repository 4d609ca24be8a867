"""compact(): a small CNN to which the padding of short clips means nothing, trained on varied clips."""

from train.backend.types import Layer, Model, Optimizer, Tensor

N_MELS = 128
# Filters, kernel, strides, pool of each block, as (mel, time); the mel axis, which has bands to spare, shrinks first.
_BLOCKS: tuple[tuple[int, tuple[int, int], tuple[int, int], tuple[int, int] | None], ...] = (
    (16, (7, 5), (4, 2), None),
    (32, (3, 3), (2, 1), None),
    (48, (3, 3), (1, 1), (2, 2)),
    (64, (3, 3), (1, 1), None),
    (96, (3, 3), (1, 1), None),
)
STRIDE = 4  # of all blocks, along time
_LEARNING_RATE = 3e-2
_DECAY = 0.1


def compact(n_classes: int, learning_rate: float | None, n_steps: int | None, n_columns: int) -> Model:
    """Five convolutions, one over the whole remaining mel axis, then mean and maximum over the clip's frames.

    Where the features are silent in all bands, as in the padding, every layer's output is set to 0 and skipped in the
    mean. So the width of the padding has no influence, and neither has silence that was recorded with the clip.
    """
    from train.backend.keras import keras

    layers = keras.layers
    normalization = layers.BatchNormalization if n_steps is None else _fused_normalization()
    clip = keras.Input((N_MELS, n_columns, 1))
    # 1 for a column with any sound, else 0.
    sound = layers.MaxPooling2D((N_MELS, 1))(clip)
    sound = layers.ReLU(max_value=1.0)(layers.Rescaling(1e4)(sound))
    x = clip
    for n_filters, size, strides, pool in _BLOCKS:
        x = layers.Conv2D(n_filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        if strides[1] > 1:
            sound = layers.MaxPooling2D((1, strides[1]))(sound)
        x = _normalised(normalization, x, sound)
        if pool is not None:
            x, sound = layers.MaxPooling2D(pool)(x), layers.MaxPooling2D((1, pool[1]))(sound)
    # The position of a pattern on the mel axis tells classes apart, so this axis is not averaged away.
    x = layers.Conv2D(128, (x.shape[1], 1), use_bias=False, kernel_initializer="he_normal")(x)
    frames = layers.Reshape((-1, 128))(_normalised(normalization, x, sound))
    share = layers.Softmax(axis=1)(layers.Rescaling(100.0, offset=-100.0)(layers.Reshape((-1, 1))(sound)))
    mean = layers.Flatten()(layers.Dot(axes=1)([share, frames]))
    x = layers.Concatenate()([mean, layers.GlobalMaxPooling1D()(frames)])
    x = layers.Dropout(0.3)(x)
    model: Model = keras.Model(clip, layers.Dense(n_classes, activation="softmax")(x), name="compact")
    optimizer = _loadable() if n_steps is None else _scheduled_muon(learning_rate, n_steps)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def _normalised(normalization: Layer, x: Tensor, sound: Tensor) -> Tensor:
    from train.backend.keras import keras

    layers = keras.layers
    return layers.Multiply()([layers.ReLU()(normalization(momentum=0.9)(x)), sound])


def _fused_normalization() -> Layer:
    from train.backend.keras import BatchNormalization

    return BatchNormalization


def _scheduled_muon(learning_rate: float | None, n_steps: int) -> Optimizer:
    """Return Muon with a tenth of the steps to warm up and a half cosine from there to 0."""
    from train.backend.keras import Muon, keras

    peak = _LEARNING_RATE if learning_rate is None else learning_rate
    n_warm = max(1, n_steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / 50, max(1, n_steps - n_warm), warmup_target=peak, warmup_steps=n_warm
    )
    optimizer = Muon(schedule, weight_decay=_DECAY, adam_weight_decay=_DECAY, momentum=0.9)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _loadable() -> Optimizer:
    """Return an optimiser of plain Keras, which will load the file of the trained model."""
    from train.backend.keras import keras

    return keras.optimizers.AdamW(2e-3, weight_decay=0.05)

"""baseline() and dropout(): the two CNNs of the notebook, layer by layer."""

from train.backend.types import Model


def baseline(n_classes: int, learning_rate: float | None) -> Model:
    """Two convolutions and a Dense of 64, as in the notebook."""
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((128, 128, 1)),
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


def dropout(n_classes: int, learning_rate: float | None) -> Model:
    """Three convolutions and a Dense of 128 with dropout."""
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((128, 128, 1)),
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


def _with_adam(model: Model, learning_rate: float | None) -> Model:
    from train.backend.keras import keras

    optimizer = keras.optimizers.Adam() if learning_rate is None else keras.optimizers.Adam(learning_rate)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model

"""The baseline is the notebook's model, and its rows come from the map."""

from typing import Any

import numpy as np
import pytest

from train.models.recipes import build_model


def notebook_model() -> Any:
    """Cells 7 and 8 of the notebook, for three classes."""
    from train.backend.keras import keras

    layers = keras.layers
    model = keras.models.Sequential(
        [
            layers.Input((128, 128, 1)),
            layers.Conv2D(filters=32, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(filters=64, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def settings_of(model: Any) -> list[tuple[str, dict[str, Any]]]:
    named = ((type(layer).__name__, layer.get_config()) for layer in model.layers)
    return [(kind, {name: value for name, value in config.items() if name != "name"}) for kind, config in named]


def test_every_layer_and_the_way_it_is_compiled_are_the_notebooks() -> None:
    from train.backend.keras import keras

    keras.utils.clear_session()  # both optimisers get the same automatic name
    model = build_model("baseline", 3)
    keras.utils.clear_session()
    expected = notebook_model()
    assert model.count_params() == expected.count_params() == 4_213_379
    assert settings_of(model) == settings_of(expected)
    assert model.get_compile_config() == expected.get_compile_config()


def test_a_learning_rate_replaces_adams_own() -> None:
    assert float(build_model("baseline", 3, 0.01).optimizer.learning_rate) == pytest.approx(0.01)


def batches_of(dtype: str, batch_size: int = 4) -> tuple[Any, np.ndarray, np.ndarray]:
    from train.dataset.rows import Batches

    X = np.arange(10, dtype=dtype).reshape(10, 1, 1, 1) / 16 * np.ones((1, 128, 128, 1), dtype)
    y = np.eye(10, dtype=np.float32)
    rows = np.array([9, 1, 5, 3, 7, 8])
    return Batches(X, y, rows, batch_size), X, rows


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_batches_are_rows_of_the_cache_in_float32_with_their_labels(dtype: str) -> None:
    batches, X, rows = batches_of(dtype)
    for i, part in enumerate((rows[:4], rows[4:])):
        x, y = batches[i]
        assert (x.dtype, y.dtype) == (np.float32, np.float32)
        assert (x == X[part]).all()
        assert y.argmax(axis=1).tolist() == part.tolist()
    assert len(batches) == 2


def test_every_epoch_has_every_row_once_in_an_order_that_the_seed_and_the_epoch_decide() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches, _, _ = batches_of("float32")
        batches.shuffle(seed, epoch)
        return np.concatenate([batches[i][1].argmax(axis=1) for i in range(len(batches))]).tolist()

    assert sorted(order(0, 0)) == [1, 3, 5, 7, 8, 9]
    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3


def test_a_model_sees_the_rows_in_the_order_of_each_epoch() -> None:
    from train.backend.keras import keras
    from train.fitting.loop import compile_steps, train_model
    from train.fitting.options import Options

    seen: list[int] = []
    batches_class = type(batches_of("float32")[0])

    class Watching(batches_class):  # type: ignore[misc,valid-type]
        def __getitem__(self, index: int) -> Any:
            X, y = super().__getitem__(index)
            seen.extend(y.argmax(axis=1).tolist())
            return X, y

    _, X, rows = batches_of("float32")
    inputs = keras.Input((128, 128, 1))
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    y = np.eye(10, dtype=np.float32)
    train_model(compile_steps(model), Watching(X, y, rows, 4), None, Options(epochs=3, val=0, seed=5))
    expected = []
    for epoch in range(3):
        batches = batches_class(X, y, rows, 4)
        batches.shuffle(5, epoch)
        expected += batches.order.tolist()
    assert seen == expected

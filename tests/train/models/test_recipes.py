"""The models are what their descriptions say, and what is saved is plain Keras."""

import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.shared.errors import UserError
from train.backend.keras import keras
from train.models.recipes import N_COLUMNS, RECIPES, build_model, build_to_train, default_epochs, input_columns, recipe

# As they are before tests add to them.
NAMES = tuple(RECIPES)

# Runs where none of this project's code can be imported: with -I, neither is the working directory.
PLAIN_KERAS = """
import sys, keras, numpy as np
clips = np.load(sys.argv[1])
for file in sys.argv[2:]:
    model = keras.models.load_model(file)
    np.save(file + ".npy", model.predict(clips, verbose=0))
    assert model.loss is not None and model.optimizer is not None
assert not {"train", "cache", "featurize"} & set(sys.modules)
"""


def short_clips(n: int, n_frames: int, seed: int = 0) -> np.ndarray:
    X = np.zeros((n, 128, 128, 1), np.float32)
    X[:, :, :n_frames] = np.random.default_rng(seed).random((n, 128, n_frames, 1), np.float32)
    return X


@pytest.fixture(scope="module")
def compact() -> Any:
    """The model with weights and batch statistics as after training: none at its initial value."""
    model = build_model("compact", 3)
    rng = np.random.default_rng(0)
    model.set_weights([w * rng.uniform(0.8, 1.2, w.shape) + rng.uniform(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def test_dropout_has_the_layers_it_is_described_by() -> None:
    model = build_model("dropout", 3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [*["Conv2D", "MaxPooling2D"] * 3, "Flatten", "Dense", "Dropout", "Dense"]
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [32, 64, 128]
    n_conv = (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128
    assert model.count_params() == n_conv + (16 * 16 * 128 + 1) * 128 + (128 + 1) * 3
    assert model.layers[-2].rate == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_more_clips_there_are_the_fewer_epochs_they_are_trained_for(name: str) -> None:
    own = recipe(name)
    epochs = [default_epochs(own, n_clips, 3, 32) for n_clips in (1, 200, 1_000, 5_000, 20_000, 40_000, 10_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] <= 100
    assert epochs[3] == own.epochs
    assert epochs[4] * 20_000 / 32 <= own.n_steps
    assert 1 < epochs[-1] < own.epochs
    assert default_epochs(own, 20_000, 3, 64) >= epochs[4]


@pytest.mark.parametrize("n_classes", [2, 3, 20])
def test_few_clips_take_as_many_steps_however_many_they_are(n_classes: int) -> None:
    own = recipe("compact")
    n_seen = {n: default_epochs(own, n, n_classes, 32) * n for n in range(1, 10_000, 37)}
    wanted = own.n_seen * math.sqrt(n_classes / 2)
    for n_clips, seen in n_seen.items():
        if own.epochs < seen / n_clips < 100:
            assert abs(seen - wanted) <= n_clips / 2
    assert n_seen[1] < wanted < n_seen[max(n_seen)]


@pytest.mark.parametrize("n_clips", [300, 1_000, 3_000])
def test_as_many_clips_of_more_classes_are_gone_through_more_often(n_clips: int) -> None:
    epochs = [default_epochs(recipe("compact"), n_clips, n_classes, 32) for n_classes in (2, 5, 20, 60)]
    assert epochs == sorted(epochs)
    assert epochs[0] < epochs[-1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_every_model_gives_each_class_a_probability(name: str, n_classes: int) -> None:
    model = build_model(name, n_classes)
    assert model.input_shape == (None, 128, 128, 1)
    probabilities = np.asarray(model(short_clips(2, 40)))
    assert probabilities.shape == (2, n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_compact_is_the_same_function_at_every_width_that_holds_the_clips(compact: Any) -> None:
    for n_frames in (1, 7, 31, 32, 33, 120):
        n_columns = input_columns("compact", n_frames)
        assert n_frames <= n_columns <= max(n_frames + 3, 8)
        narrow = build_model("compact", 3, n_columns=n_columns)
        narrow.set_weights(compact.get_weights())
        X = short_clips(3, n_frames)
        np.testing.assert_allclose(narrow(X[:, :, :n_columns]), compact(X), rtol=0, atol=1e-6)


def test_compact_learns_the_same_at_every_width_but_for_the_batch_statistics(compact: Any) -> None:
    import tensorflow as tf

    X = short_clips(3, 32)
    gradients = []
    for n_columns in (32, 128):
        model = build_model("compact", 3, n_columns=n_columns)
        model.set_weights(compact.get_weights())
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.math.log(model(X[:, :, :n_columns])[:, 0]))
        gradients.append(tape.gradient(loss, model.trainable_variables))
    for narrow, whole in zip(*gradients, strict=True):
        np.testing.assert_allclose(narrow, whole, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(whole))) + 1e-9)


def test_compact_gives_silence_a_probability_too(compact: Any) -> None:
    assert np.isfinite(np.asarray(compact(np.zeros((1, 128, 128, 1), np.float32)))).all()


def test_compact_hears_the_same_before_and_after_recorded_silence(compact: Any) -> None:
    clip, later = short_clips(1, 32), np.zeros((1, 128, 128, 1), np.float32)
    later[:, :, 64:96] = clip[:, :, :32]
    np.testing.assert_allclose(compact(clip), compact(later), atol=1e-6)


def test_a_model_without_that_property_is_never_narrowed() -> None:
    assert input_columns("baseline", 32) == input_columns("dropout", 1) == N_COLUMNS
    assert input_columns("compact", 4000) == N_COLUMNS


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    schedule = build_model("compact", 3, 0.01, n_steps=200).optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(201)]
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 20
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(rates[20:]) <= 0)
    build_model("compact", 3, n_steps=1)


def test_weight_decay_spares_biases_and_batch_statistics() -> None:
    model = build_model("compact", 3, n_steps=1)
    decayed = {v.path for v in model.trainable_variables if model.optimizer._use_weight_decay(v)}
    assert decayed == {v.path for v in model.trainable_variables if v.name == "kernel"}


def test_a_step_moves_every_direction_of_a_kernel_about_equally_and_other_weights_by_adamw() -> None:
    model = build_model("compact", 3, 0.01, n_steps=100)
    plain = keras.optimizers.AdamW(model.optimizer._learning_rate, weight_decay=0)
    model.optimizer.weight_decay = model.optimizer.adam_weight_decay = 0
    rng = np.random.default_rng(0)
    before = [v.numpy() for v in model.trainable_variables]
    gradients = [rng.normal(size=v.shape).astype(np.float32) for v in before]
    model.optimizer.apply(gradients, model.trainable_variables)
    moved = [v.numpy() - old for v, old in zip(model.trainable_variables, before, strict=True)]
    others = [keras.Variable(v) for v in before]
    plain.apply(gradients, others)
    rate = float(plain._learning_rate(0))
    for v, change, other in zip(model.trainable_variables, moved, others, strict=True):
        if v.shape.rank == 4:
            matrix = change.reshape(-1, v.shape[-1])
            sizes = np.linalg.svd(matrix, compute_uv=False) / (rate * 0.2 * max(matrix.shape) ** 0.5)
            assert 0.5 < sizes.min() <= sizes.max() < 1.5, v.path
        else:
            np.testing.assert_allclose(v.numpy(), np.asarray(other), atol=1e-5)


def test_what_makes_a_step_even_is_what_keras_does_to_a_matrix() -> None:
    ours = build_model("compact", 3, n_steps=1).optimizer
    for shape in ((1024, 128), (25, 24), (24, 96)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        made = ours.zeropower_via_newtonschulz5(x, 5)
        keras_own = keras.optimizers.Muon().zeropower_via_newtonschulz5(keras.ops.convert_to_tensor(x), 5)
        np.testing.assert_allclose(made, keras_own, atol=2e-3)


def test_what_is_saved_loads_with_plain_keras_and_says_the_same(run: Path, tmp_path: Path) -> None:
    X = short_clips(4, 50)
    np.save(tmp_path / "clips.npy", X)
    expected = {}
    for name in NAMES:
        model = build_model(name, 3)
        # As after training: a state of the optimizer that is not there is a warning when it is loaded.
        model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / f"{name}.keras")
        expected[tmp_path / f"{name}.keras"] = np.asarray(model(X))
    fitted = Path(shutil.copy(run / "model.keras", tmp_path / "fitted.keras"))
    expected[fitted] = np.asarray(keras.models.load_model(fitted)(X))
    program = [sys.executable, "-I", "-W", "error::UserWarning", "-c", PLAIN_KERAS, tmp_path / "clips.npy", *expected]
    done = subprocess.run(list(map(str, program)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file, probabilities in expected.items():
        assert probabilities.shape == (4, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.load(f"{file}.npy"), probabilities, atol=1e-5)


def test_only_the_recommended_model_is_trained_on_varied_clips() -> None:
    assert [name for name in NAMES if recipe(name).augmentation] == ["compact"]
    assert {"baseline", "dropout", "compact"} <= set(NAMES)
    with pytest.raises(UserError, match=f"there are {', '.join(NAMES)}"):
        build_model("nonsense", 3)


@pytest.mark.parametrize("n_frames", [1, 3, 4, 5])
def test_clips_of_a_frame_build_a_model_without_a_warning(n_frames: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build_to_train("compact", 2, None, 10, n_frames)
        X = short_clips(2, n_frames)[:, :, : model.input_shape[2]]
        assert np.asarray(model(X, training=False)).shape == (2, 2)

"""The forward pass: the other clips of a batch decide nothing, and a run's network computes what Keras computes."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests import ROOT
from tests.helpers.tiny import build_tiny
from train.models.graph import NoNetwork
from train.models.inference import (
    BATCH_SIZE,
    FILE,
    MODEL_FILE,
    TOLERANCE,
    forward,
    forward_of,
    open_network,
    write_network,
)
from train.models.recipes import RECIPES, build_model
from train.predict.predict import classify

N_CLASSES = 4


def rows(n, n_columns=128, seed=0):
    """Rows of noise, some of which show a clip that is shorter than they are."""
    x = np.random.default_rng(seed).random((n, 128, n_columns, 1)).astype(np.float32)
    x[::3, :, n_columns // 2 :] = 0
    return x


def trained_looking(model):
    """The model with weights and batch statistics as if it had been trained: none is 0, and none 1."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        values = rng.normal(0, 0.1, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    return model


def keras_says(model, x):
    return np.asarray(model(x, training=False))


def build_pooling():
    """A model with every layer that pools all of its input."""
    from train.backend.keras import keras

    layers = keras.layers
    x = clip = keras.Input((128, 128, 1))
    x = layers.Conv2D(4, 3, 4, activation="relu")(x)
    frames = layers.Reshape((-1, 4))(x)
    pooled = [layers.GlobalAveragePooling2D()(x), layers.Flatten()(layers.GlobalMaxPooling2D(keepdims=True)(x))]
    pooled += [layers.GlobalAveragePooling1D()(frames), layers.GlobalMaxPooling1D()(frames)]
    return keras.Model(clip, layers.Dense(N_CLASSES, activation="softmax")(layers.Concatenate()(pooled)))


@pytest.fixture(scope="module", params=["tiny", "pooling", *RECIPES])
def model(request):
    if request.param == "tiny":
        return build_tiny(N_CLASSES, None), False
    if request.param == "pooling":
        return trained_looking(build_pooling()), False
    made = trained_looking(build_model(request.param, N_CLASSES))
    return made, RECIPES[request.param].variable_width


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """A run directory with a model and its network; treat it as read-only."""
    made, adapts = model
    run = tmp_path_factory.mktemp("network")
    (run / MODEL_FILE).write_bytes(b"the bytes of a model")
    write_network(run, made, adapts, rows(3), lambda x: keras_says(made, x))
    return run


@pytest.fixture
def folder(written, tmp_path):
    """A copy of it."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_clip_gets_the_same_probabilities_to_the_bit_at_every_place_and_alone(name):
    probabilities_of = forward(build_model(name, 3))
    X = np.random.default_rng(0).random((BATCH_SIZE, 128, 128, 1), dtype=np.float32)
    expected = probabilities_of(X)
    for n in (1, BATCH_SIZE - 1):
        np.testing.assert_array_equal(probabilities_of(X[-n:]), expected[-n:])
    for first in (1, 5, BATCH_SIZE // 2, BATCH_SIZE - 1):
        np.testing.assert_array_equal(probabilities_of(np.roll(X, first, axis=0)), np.roll(expected, first, axis=0))


def test_it_computes_what_keras_does(model, folder):
    x = rows(37, seed=2)
    np.testing.assert_allclose(open_network(folder, N_CLASSES)(x), keras_says(model[0], x), rtol=0, atol=TOLERANCE)


def test_rows_of_half_precision_are_taken(model, folder):
    x = rows(5, seed=3).astype(np.float16)
    expected = keras_says(model[0], x.astype(np.float32))
    np.testing.assert_allclose(open_network(folder, N_CLASSES)(x), expected, rtol=0, atol=TOLERANCE)


def test_neither_the_number_of_rows_nor_the_place_of_one_changes_a_bit(folder):
    network, x = open_network(folder, N_CLASSES), rows(40, seed=4)
    together = network(x)
    for n in (1, 2, 7, 16, 17, 33):
        for start in (0, 3, 7):
            np.testing.assert_array_equal(network(x[start : start + n]), together[start : start + n])


def test_a_model_that_adapts_gets_the_same_from_fewer_columns_whatever_their_number(tmp_path):
    compact = trained_looking(build_model("compact", N_CLASSES))
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    write_network(tmp_path, compact, RECIPES["compact"].variable_width, rows(3), lambda x: keras_says(compact, x))
    network = open_network(tmp_path, N_CLASSES)
    for n_frames in (1, 2, 29, 30, 31, 32):
        x = rows(6)
        x[:, :, n_frames:] = 0
        for given in (x, x[1::3]):  # with rows that are shorter than the others, and without
            expected = keras_says(compact, given)
            for n_columns in (n_frames, 32, 128):
                np.testing.assert_allclose(network(given[:, :, :n_columns]), expected, rtol=0, atol=TOLERANCE)


def test_a_run_whose_clips_fill_some_columns_computes_on_these_what_keras_does_on_all(model, folder):
    run = SimpleNamespace(folder=folder, class_names=["a class"] * N_CLASSES)
    x = rows(5, seed=6)
    x[:, :, 33:] = 0
    expected = keras_says(model[0], x)
    np.testing.assert_allclose(forward_of(run, 33)(x), expected, rtol=0, atol=TOLERANCE)


def test_columns_with_hardly_any_sound_and_rows_with_none_are_what_keras_makes_of_them(tmp_path):
    compact = trained_looking(build_model("compact", N_CLASSES))
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    write_network(tmp_path, compact, RECIPES["compact"].variable_width, rows(3), lambda x: keras_says(compact, x))
    x = rows(8, seed=5)
    x[1, :, 5:20] *= 5e-5  # The gates of these columns lie between 0 and 1.
    x[2, :, 5:20] = 0
    x[3] = 0
    for given in (x, x[1:2], x[2:3], x[3:4]):
        expected = keras_says(compact, given)
        np.testing.assert_allclose(open_network(tmp_path, N_CLASSES)(given), expected, rtol=0, atol=TOLERANCE)


def test_a_network_of_another_model_file_is_not_used(folder):
    (folder / MODEL_FILE).write_bytes(b"the bytes of another model")
    with pytest.raises(NoNetwork, match=r"written from another model\.keras"):
        open_network(folder, N_CLASSES)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x09" * 500], ids=["empty", "text", "noise"])
def test_a_damaged_network_is_not_used(folder, content):
    (folder / FILE).write_bytes(content)
    with pytest.raises(NoNetwork, match=r"network\.onnx"):
        open_network(folder, N_CLASSES)


def test_a_network_that_is_missing_or_of_other_classes_is_not_used(folder):
    with pytest.raises(NoNetwork, match="does not fit the 3 classes"):
        open_network(folder, 3)
    (folder / FILE).unlink()
    with pytest.raises(NoNetwork, match="missing"):
        open_network(folder, N_CLASSES)


def test_a_network_that_computes_something_else_is_not_kept(model, tmp_path):
    made, adapts = model
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    x = rows(2)
    with pytest.raises(NoNetwork, match=r"differ from Keras's by 0\.001"):
        write_network(tmp_path, made, adapts, x, lambda x: keras_says(made, x) + 1e-3)
    assert not (tmp_path / FILE).exists()


def test_a_layer_that_is_not_known_is_named_and_nothing_is_kept(tmp_path):
    from train.backend.keras import keras

    layers = keras.layers
    odd = keras.Sequential(
        [keras.Input((128, 128, 1)), layers.Conv2D(2, 3), layers.GaussianNoise(0.1), layers.GlobalAveragePooling2D()]
    )
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    with pytest.raises(NoNetwork, match="a layer GaussianNoise"):
        write_network(tmp_path, odd, False, rows(1), lambda x: np.zeros((1, 2), np.float32))
    assert list(tmp_path.iterdir()) == [tmp_path / MODEL_FILE]


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "RUN", "CLIP", "--quiet"),
        ("evaluate", "RUN", "CACHE"),
        ("suspects", "RUN", "--out", "OUT"),
        ("report", "RUN"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_uses_a_run_starts_no_tensorflow(command, run, tones, tones_cache, tmp_path):
    mine = shutil.copytree(run, tmp_path / "run")
    clip = next(tones.rglob("*.wav"))
    given = {"RUN": mine, "CLIP": clip, "CACHE": tones_cache, "OUT": tmp_path / "suspects.csv"}
    words = [str(given.get(word, word)) for word in command]
    code = "import sys, runpy; sys.modules.update(tensorflow=None, keras=None)\n"
    code += f"sys.argv = ['train', *{words!r}]; runpy.run_module('train', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_whose_model_was_changed_is_computed_by_keras_with_a_line(run, tones, tmp_path, capsys):
    mine = shutil.copytree(run, tmp_path / "run")
    clip = next(tones.rglob("*.wav"))
    (before,) = classify(mine, clip)
    model = keras_model(mine / MODEL_FILE)
    model.layers[-1].bias.assign([0.0, 0.0, 50.0])
    model.save(mine / MODEL_FILE)
    capsys.readouterr()
    (after,) = classify(mine, clip)
    assert after.probabilities != before.probabilities
    assert max(after.probabilities, key=after.probabilities.get) == list(after.probabilities)[2]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "TensorFlow computes, which takes seconds to start, because network.onnx was written from another" in said


def keras_model(file):
    from train.backend.keras import keras

    return keras.models.load_model(file)

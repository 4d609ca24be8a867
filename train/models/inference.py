"""The forward pass of a model: spectrograms in, probabilities out; and the clips that are alike by its last features.

A finished run computes by network.onnx, its network for onnxruntime, which starts in a fiftieth of the time that
TensorFlow takes, and by Keras where that cannot be used. The file is written beside `model.keras`, which stays the
model: it carries the sha256 of the `model.keras` that it was written from, and a model of another content is never
answered for by it.

onnxruntime and LiteRT agree with Keras to 1e-6 and took as long for a row of `compact` (0.47 ms of one core at 36
columns, TensorFlow 0.49) before the graph was written for onnxruntime (now 0.31); both have wheels for Linux (x86-64,
arm64) and macOS. onnxruntime was taken because its file is written in 0.02 s (`train.models.graph`), where TensorFlow's
converter for LiteRT takes 1.6 s, and because one file serves every width of the input.
"""

import os
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.cli import notice
from cache.shared.errors import reason_in
from cache.shared.files import sha256_of, write_file
from cache.shared.types import Float32, Rows
from train.backend.types import Model
from train.dataset.rows import mean_by_clip, rows_of
from train.models.calibration import calibrated
from train.models.graph import NoNetwork, graph_of
from train.models.recipes import N_COLUMNS, build_model, input_columns
from train.runs.directory import Run, load_model

# Spectrograms of any type, shape (n, 128, 128, 1), to probabilities, shape (n, n_classes).
Forward = Callable[[npt.NDArray[Any]], Float32]

FILE = "network.onnx"
MODEL_FILE = "model.keras"

# Between the probabilities of the network and those of Keras, on real rows.
TOLERANCE = 1e-5

# A product of matrices takes rows 6 at a time with AVX2 and 8 with AVX-512, and rounds the rest in another way; each of
# two threads has half of the rows.
BATCH_SIZE = 48

# onnxruntime computes a batch in parts of this size, each by one thread. Every part is filled up to it, with copies of
# a row, since matrix products of another size may round otherwise, and neither who is in a batch with a row nor which
# place it has must matter.
_N_AT_A_TIME = 8

_DIGEST = "sha256_of_model_keras"

# Clips of the label's class, and as many of the other.
N_NEAREST = 3
# Tested clips at a time, against all clips of a class: 100 MB for 100,000 of them.
_N_COMPARED = 256


def forward_of(run: Run, n_frames: int = N_COLUMNS) -> Forward:
    """Open the model of a run, for spectrograms whose columns are 0 from a number of frames on.

    Raises a UserError if neither the network nor the model can be loaded.
    """
    try:
        return open_network(run.folder, len(run.class_names), n_frames)
    except NoNetwork as error:
        notice(f"{run.folder}: TensorFlow computes, which takes seconds to start, because {error}")
        return forward(load_model(run))


def predict_rows(probabilities_of: Forward, X: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> Float32:
    """Return the probabilities for some rows of a cache, shape (n_rows, n_classes)."""
    X = np.asarray(X)
    # Without rows, a forward pass of none tells the number of classes.
    starts = range(0, max(len(rows), 1), BATCH_SIZE)
    return np.concatenate([probabilities_of(X[rows[start : start + BATCH_SIZE]]) for start in starts])


def predict_clips(probabilities_of: Forward, cache: Cache, clips: Rows, temperature: float = 1.0) -> Float32:
    """Return the probabilities for some clips, the means over the rows of each, shape (n_clips, n_classes).

    The probabilities of a row are calibrated with the temperature first.
    """
    rows, clip = rows_of(cache, clips)
    return mean_by_clip(calibrated(predict_rows(probabilities_of, cache.X, rows), temperature), clip)


def forward(model: Model) -> Forward:
    """Return the model as a function of spectrograms, shape (n, 128, 128, 1) -> (n, n_classes), traced once for any n.

    Keras's own predict_on_batch() is traced again for every n, such as the last batch of a folder. A batch is filled up
    to BATCH_SIZE, because matrix products of another size round in another way: the probabilities of a clip must not
    depend on the other clips in its batch, or on its place among them.
    """
    from train.backend.keras import tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    traced = tf.function(lambda batch: model(batch, training=False), input_signature=signature)

    def probabilities_of(batch: npt.NDArray[Any]) -> Float32:
        n, batch = len(batch), batch.astype(np.float32, copy=False)
        if n < BATCH_SIZE:
            batch = np.concatenate((batch, np.zeros((BATCH_SIZE - n, *batch.shape[1:]), np.float32)))
        return np.asarray(traced(batch))[:n]

    return probabilities_of


def write_network(
    folder: Path, model: Model, variable_width: bool, rows: npt.NDArray[Any], probabilities_of: Forward
) -> None:
    """Write network.onnx beside a `model.keras`, if it computes what the model does on rows of a cache.

    With a variable width the model computes the same function at any width. Raises a NoNetwork, and writes nothing, if
    the model cannot be written as such a graph, or the graph does not compute the same as the forward pass by Keras.
    """
    graph = graph_of(model, variable_width, {_DIGEST: sha256_of(folder / MODEL_FILE)})
    forward = _forward(_session(graph))
    # The rows as they are, and without a silent column: the graph may have a branch for silent columns.
    samples = rows, np.maximum(rows, 0.01)
    difference = max(float(np.abs(forward(x) - probabilities_of(x)).max(initial=0.0)) for x in samples)
    if not difference <= TOLERANCE:
        raise NoNetwork(f"its probabilities differ from Keras's by {difference:.1g}")
    write_file(folder / FILE, graph)


def open_network(folder: Path, n_classes: int, n_frames: int = N_COLUMNS) -> Forward:
    """Open the network.onnx of a run, for spectrograms whose columns are 0 from a number of frames on.

    Raises a NoNetwork if there is no such file, it was written from another `model.keras`, it is damaged, or it has
    other classes.
    """
    file = folder / FILE
    if not file.is_file():
        raise NoNetwork(f"{FILE} is missing")
    session = _session(file.read_bytes())
    model_file = folder / MODEL_FILE
    own = session.get_modelmeta().custom_metadata_map.get(_DIGEST)
    if not model_file.is_file() or own != sha256_of(model_file):
        raise NoNetwork(f"{FILE} was written from another {MODEL_FILE}")
    shapes = [tensor.shape for tensor in (*session.get_inputs(), *session.get_outputs())]
    if len(shapes) != 2 or shapes[0][1] != 128 or shapes[0][3:] != [1] or shapes[1][1:] != [n_classes]:
        raise NoNetwork(f"{FILE} takes {shapes[0]} to {shapes[1:]}, which does not fit the {n_classes} classes")
    # A graph of variable width leaves out the other columns by itself; to copy them would add a sixth to its time.
    return _forward(session, n_frames if isinstance(shapes[0][2], str) else N_COLUMNS)


def _session(graph: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise NoNetwork("onnxruntime is not installed") from None

    options = onnxruntime.SessionOptions()
    # An error comes as an exception; the log on stderr would be a second one.
    options.log_severity_level = 4
    # The parts of a batch share the cores: threads within a part would wait for each other, at work all the while.
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # onnxruntime has an exception for each kind of damage, and none is public.
    except Exception as error:
        raise NoNetwork(f"{FILE} is damaged ({reason_in(error)})") from None


def _forward(session: Any, n_columns: int = N_COLUMNS) -> Forward:
    given = session.get_inputs()[0].name
    threads = ThreadPool(os.cpu_count() or 1)

    def probabilities_of(rows: npt.NDArray[Any]) -> Float32:
        starts = range(0, max(len(rows), 1), _N_AT_A_TIME)
        parts = [rows[start : start + _N_AT_A_TIME, :, :n_columns] for start in starts]
        return np.concatenate(threads.map(_of_part, parts, 1))

    def _of_part(rows: npt.NDArray[Any]) -> Float32:
        part = np.zeros((_N_AT_A_TIME, *rows.shape[1:]), np.float32)
        part[: len(rows)] = rows
        part[len(rows) :] = rows[:1] if len(rows) else 0
        probabilities: Float32 = session.run(None, {given: part})[0][: len(rows)]
        return probabilities

    return probabilities_of


def nearest_clips(model: Model, name: str, cache: Cache, clips: Rows, probabilities: Float32) -> Rows:
    """Return the clips that are nearest to each tested one, the nearest first, shape (n, 2 * N_NEAREST).

    Nearest are the features that the model's last layer turns into probabilities, by the cosine between them. The model
    was trained without the tested clips, by the recipe of this name; the probabilities are theirs, shape (n,
    n_classes). Clips of the same label come first, then those of the most probable other class; -1 where
    there are no more.
    """
    nearest = np.full((len(clips), 2, N_NEAREST), -1, np.intp)
    if not len(clips):
        return nearest.reshape(0, 2 * N_NEAREST)
    features, labels = _features(model, name, cache), cache.clip_labels
    others = np.array(probabilities)
    others[np.arange(len(clips)), labels[clips]] = -1
    wanted = np.stack([labels[clips], others.argmax(axis=1)], axis=1)
    for label in range(len(cache.class_names)):
        there, (tests, sides) = np.flatnonzero(labels == label), np.nonzero(wanted == label)
        for start in range(0, len(tests), _N_COMPARED):
            test, side = tests[start : start + _N_COMPARED], sides[start : start + _N_COMPARED]
            likeness = features[clips[test]] @ features[there].T
            likeness[clips[test][:, None] == there] = -np.inf
            for place in range(N_NEAREST):
                best = np.arange(len(test)), likeness.argmax(axis=1)
                nearest[test, side, place] = np.where(np.isfinite(likeness[best]), there[best[1]], -1)
                likeness[best] = -np.inf
    return nearest.reshape(len(clips), -1)


def _features(model: Model, name: str, cache: Cache) -> Float32:
    """Return the input of the last layer for every clip, of length 1, shape (n_clips, n_features)."""
    from train.backend.keras import keras

    n_columns = input_columns(name, int(cache.columns["n_frames"].max()))
    if n_columns < model.input_shape[2]:
        # The rows of a whole cache are many, and a copy on fewer columns computes the same.
        weights = model.get_weights()
        model = build_model(name, model.output_shape[1], n_columns=n_columns)
        model.set_weights(weights)
    features_of = forward(keras.Model(model.inputs[0], model.layers[-1].input))
    of_rows = predict_rows(lambda batch: features_of(batch[:, :, :n_columns]), cache.X, np.arange(len(cache)))
    features = mean_by_clip(of_rows, cache.clips)
    norms = np.linalg.norm(features, axis=1, keepdims=True).astype(np.float32)
    unit: Float32 = features / np.maximum(norms, np.float32(1e-12))
    return unit

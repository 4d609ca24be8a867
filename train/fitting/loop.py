"""The training loop: from rows of a cache to the weights of the best epoch, by steps that are traced once."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from cache import Cache
from cache.shared.cli import progress_bar
from cache.shared.errors import UserError
from cache.shared.files import own_folder
from cache.shared.text import human_seconds
from cache.shared.tree import is_background
from cache.shared.types import Float32, Rows
from train.backend.keras import keras, reseed, tf
from train.backend.types import Model, Tensor, Weights
from train.dataset.rows import Batches, mean_by_clip, rows_of
from train.fitting.checkpoint import Checkpoint, best_epoch
from train.fitting.options import Options
from train.models.recipes import N_COLUMNS, Recipe, build_model, build_to_train, recipe
from train.runs.directory import LOGS
from train.runs.tables import History

if TYPE_CHECKING:
    from tqdm import tqdm


# Takes a batch: X, shape (n, 128, n_columns, 1), one-hot y, and the weight of every row in the loss, shape (n,).
# Returns the mean loss; and in training how many of the rows are classified correctly, else their probabilities.
Step: TypeAlias = Callable[[Float32, Float32, Float32], tuple[Tensor, Tensor]]


class Compiled(NamedTuple):
    """A compiled Keras model, and its steps on a batch."""

    model: Model
    train: Step  # a step that changes the weights
    score: Step  # a step that does not
    optimizer_state: Weights  # the values of the optimiser's variables before the first step


def compiled_for(options: Options, n_classes: int, n_steps: int, n_frames: int) -> Compiled:
    """Return the model of build_to_train(), with its optimiser as before the first step.

    The folds of a cross-validation and the seeds of a sweep differ in nothing but their rows and weights. It takes
    seconds to build a model and to trace its steps, a sixth of a fold of a few hundred clips. So a process does that
    once, and every fit gets the same model, with weights of its own by set_weights().
    """
    arguments = options.model, n_classes, options.learning_rate, n_steps, min(n_frames, N_COLUMNS)
    shared = _shared(recipe(options.model), options.deterministic, arguments)
    for variable, value in zip(shared.model.optimizer.variables, shared.optimizer_state, strict=True):
        variable.assign(value)
    return shared


# Two, for folds that differ by one optimiser step. `_recipe` and `_deterministic` are there to be compared: a name may
# come to stand for another recipe, and a step that was traced for other kernels is another step.
@lru_cache(2)
def _shared(_recipe: Recipe, _deterministic: bool, arguments: tuple[str, int, float | None, int, int]) -> Compiled:
    return compile_steps(build_to_train(*arguments))


def compile_steps(model: Model) -> Compiled:
    """Return a compiled model with its steps, each traced once for batches of any size.

    Keras's own fit() does the same, but gets its batches from a generator behind a tf.data iterator, which costs a
    quarter of a step of a small network; and its train_on_batch() is traced a second time for an epoch's last batch.
    """
    model.optimizer.build(model.trainable_variables)

    def train(X: Tensor, y: Tensor, clip_weights: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            probabilities = model(X, training=True)
            loss = model.compute_loss(X, y, probabilities, clip_weights)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss, tf.math.count_nonzero(tf.argmax(y, axis=1) == tf.argmax(probabilities, axis=1))

    def score(X: Tensor, y: Tensor, clip_weights: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = model(X, training=False)
        return model.compute_loss(X, y, probabilities, clip_weights, training=False), probabilities

    shapes = ((None, *model.input_shape[1:]), (None, model.output_shape[1]), (None,))
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return Compiled(
        model,
        tf.function(train, signature, autograph=False),
        tf.function(score, signature, autograph=False),
        [variable.numpy() for variable in model.optimizer.variables],
    )


class Validation(NamedTuple):
    """Batches of all rows of the clips that choose the epoch, and the place of each row's clip, ascending from 0."""

    batches: Batches
    clip: Rows


class Trained(NamedTuple):
    """The result of a training."""

    model: Model  # with the weights of the best epoch
    # For each epoch `epoch` (from 1), `loss`, `accuracy`, and with validation `val_loss` and `val_accuracy`.
    history: History
    best: int  # the epoch, see best_epoch()


def train_by_recipe(
    cache: Cache, options: Options, train: Rows, val: Rows, run_dir: Path | None = None, title: str = ""
) -> Trained:
    """Build the model that the options name and train it as its recipe says, on some clips; `val` may be empty.

    The model that is returned has the full width, and the state of its optimiser is not that of the best epoch.
    """
    own, n_classes = recipe(options.model), len(cache.class_names)
    train_rows, clip = rows_of(cache, train)
    val_rows, val_clip = rows_of(cache, val)
    n_frames = cache.columns["n_frames"].astype(np.int64)
    widest = int(n_frames[np.concatenate([train_rows, val_rows])].max())
    n_steps = options.epochs * math.ceil(len(train) / options.batch_size)
    # Built before anything else is drawn from the seed, and the other model begins with its weights.
    whole = build_model(options.model, n_classes)
    compiled = compiled_for(options, n_classes, n_steps, widest)
    compiled.model.set_weights(whole.get_weights())
    n_columns = compiled.model.input_shape[2]
    is_noise = np.array([is_background(name) for name in cache.class_names])
    backgrounds = train_rows[is_noise[cache.labels[train_rows]]]
    varied = own.augmentation and replace(own.augmentation, range_db=float(cache.settings["top_db"]))
    batches = Batches(
        cache.X, cache.y, train_rows, options.batch_size, n_columns, varied, n_frames, backgrounds, clip, own.n_views
    )
    held_out = Batches(cache.X, cache.y, val_rows, options.batch_size, n_columns)
    validation = Validation(held_out, val_clip) if len(val) else None
    class_weights = balanced_weights(cache.clip_labels[train], n_classes) if options.class_weight else None
    trained = train_model(compiled, batches, validation, options, class_weights, run_dir, title)
    whole.set_weights(trained.model.get_weights())
    return trained._replace(model=whole)


def train_model(
    compiled: Compiled,
    batches: Batches,
    validation: Validation | None,
    options: Options,
    class_weights: Float32 | None = None,
    run_dir: Path | None = None,
    title: str = "",
) -> Trained:
    """Train a model, epoch by epoch; a UserError if the loss is not a number any more.

    Parameters
    ----------
    batches, validation
        The clips to train on, and those that choose the epoch, as wide as the model's input.
    class_weights
        Weight of the clips of each class in the loss, shape (n_classes,); None: 1.
    run_dir
        Where every epoch is kept; training goes on after the last epoch that is found there. If it has a folder for
        TensorBoard, the epochs are logged there.
    title
        The name of this training in the progress bar, when it is one of many; otherwise every epoch leaves a line.
    """
    model, n_batches = compiled.model, len(batches)
    weights = np.ones(model.output_shape[1], np.float32) if class_weights is None else class_weights
    checkpoint = None if run_dir is None else Checkpoint(run_dir)
    history, best_weights = ([], []) if checkpoint is None else checkpoint.restore(model, n_batches)
    patience = options.patience or options.epochs
    logs = keras.callbacks.CallbackList(_logs(run_dir), model=model)
    logs.on_train_begin()
    # One bar for the whole fit, so that it shows how long that takes.
    with checkpoint or nullcontext(), progress_bar(options.epochs * n_batches, unit="batch") as bar:
        bar.n = bar.initial = len(history) * n_batches
        while len(history) < options.epochs and (not history or len(history) - best_epoch(history) < patience):
            epoch, started = len(history), time.perf_counter()
            bar.set_description(f"{title} epoch {epoch + 1}/{options.epochs}".strip())
            batches.shuffle(options.seed, epoch)
            reseed(model, options.seed, epoch)
            row = {"epoch": epoch + 1, **_train_epoch(compiled, batches, weights, bar, epoch)}
            if validation is not None:
                row |= _validate(compiled, validation)
            history.append(row)
            if best_epoch(history) == len(history):
                best_weights = model.get_weights()
            if checkpoint is not None:
                checkpoint.save(model, history, best_weights)
            logs.on_epoch_end(epoch, {name: row[name] for name in row if name != "epoch"})
            if not bar.disable and not title:
                bar.write(_line(row, options.epochs, time.perf_counter() - started), sys.stderr)
    logs.on_train_end()
    model.set_weights(best_weights)
    return Trained(model, history, best_epoch(history))


def _train_epoch(
    compiled: Compiled, batches: Batches, weights: Float32, bar: "tqdm[Any]", epoch: int
) -> dict[str, float]:
    """Take a step on every batch; return the means over the clips, each computed before its batch's step."""
    sums = np.zeros(3)
    for X, y in batches:
        loss, n_correct = compiled.train(X, y, weights[y.argmax(axis=1)])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {float(loss)} in epoch {epoch + 1}, so training has diverged; try a lower --learning-rate"
            )
        sums += float(loss) * len(y), int(n_correct), len(y)
        bar.update()
    return {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}


def _validate(compiled: Compiled, validation: Validation) -> dict[str, float]:
    """Return the means over the clips that choose the epoch; the rows of each have the weight of a clip together."""
    batches, clip = validation
    n_windows, size = np.bincount(clip), batches.batch_size
    weights = (1 / n_windows[clip]).astype(np.float32)
    total, probabilities, labels = 0.0, [], batches.y[batches.rows].argmax(axis=1)
    for index, (X, y) in enumerate(batches):
        loss, p = compiled.score(X, y, weights[index * size : index * size + len(y)])
        total += float(loss) * len(y)
        probabilities.append(np.asarray(p))
    predicted = mean_by_clip(np.concatenate(probabilities), clip).argmax(axis=1)
    correct = predicted == labels[np.cumsum(n_windows) - 1]
    return {"val_loss": total / len(n_windows), "val_accuracy": float(correct.mean())}


def balanced_weights(labels: Rows, n_classes: int) -> Float32:
    """Return for every class the weight that makes all classes count alike, with mean 1 over the clips."""
    counts = np.bincount(labels, minlength=n_classes)
    weights = [len(labels) / (np.count_nonzero(counts) * n) if n else 1.0 for n in counts.tolist()]
    return np.array(weights, np.float32)


def _logs(run_dir: Path | None) -> "list[EpochLog]":
    if run_dir is None or not (run_dir / LOGS).is_dir():
        return []
    logs = own_folder(run_dir / LOGS)
    for folder in (path for path in logs.iterdir() if path.is_dir()):
        own_folder(folder)
    return [EpochLog(logs)]


class EpochLog(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """Keras's own callback, which writes every epoch to disk at its end: a signal or a kill loses none."""

    def __init__(self, folder: Path) -> None:
        # The graph would show the fast path instead of the user's model.
        super().__init__(folder, write_graph=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Log an epoch."""
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()


def _line(row: dict[str, float], epochs: int, seconds: float) -> str:
    line = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:6.1%}"
    if "val_loss" in row:
        line += f"  val {row['val_loss']:.4f} {row['val_accuracy']:6.1%}"
    return f"{line}  {human_seconds(seconds)}"

"""train_by_recipe() and train_model(): the training loop, from rows of a cache to the weights of the best epoch."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cache import Cache
from cache.shared.cli import is_watched
from cache.shared.errors import UserError
from cache.shared.files import own_folder
from cache.shared.text import human_seconds
from cache.shared.tree import is_background
from train.backend.keras import keras, reseed
from train.dataset.batches import Batches
from train.fitting.checkpoint import Checkpoint, best_epoch
from train.fitting.options import Options
from train.fitting.steps import steps
from train.fitting.traced import as_if_new
from train.models import recipes as models
from train.runs.directory import LOGS
from train.runs.tables import History

Rows = npt.NDArray[np.intp]


def train_by_recipe(
    cache: Cache, options: Options, train_rows: Rows, val_rows: Rows, run_dir: Path | None = None, title: str = ""
) -> tuple[Any, History, int]:
    """Build the model that the options name and train it as its recipe says.

    Parameters
    ----------
    cache
        Holds the rows.
    options
        The model by name, and what the user decides about its training.
    train_rows, val_rows
        Indices into the cache; `val_rows` may be empty.
    run_dir, title
        See train_model().

    Returns
    -------
    model : keras.Model
        Trained, of the full width, and compiled as if new: the optimiser's state is not that of the best epoch.
    history, best
        See train_model().
    """
    recipe, n_classes = models.recipe(options.model), len(cache.class_names)
    n_frames = cache.columns["n_frames"].astype(np.int64)
    widest = int(n_frames[np.concatenate([train_rows, val_rows])].max())
    n_steps = options.epochs * math.ceil(len(train_rows) / options.batch_size)
    whole = models.build_model(options.model, n_classes)
    model = as_if_new(options, n_classes, n_steps, widest)
    model.set_weights(whole.get_weights())
    n_columns = model.input_shape[2]
    is_noise = np.array([is_background(name) for name in cache.class_names])
    backgrounds = train_rows[is_noise[cache.labels[train_rows]]]
    batches = Batches(
        cache.X, cache.y, train_rows, options.batch_size, n_columns, recipe.augmentation, n_frames, backgrounds
    )
    validation = Batches(cache.X, cache.y, val_rows, options.batch_size, n_columns) if len(val_rows) else None
    class_weight = balanced_weights(cache.labels[train_rows]) if options.class_weight else None
    history, best = train_model(model, batches, validation, options, class_weight, run_dir, title)
    whole.set_weights(model.get_weights())
    return whole, history, best


def train_model(
    model: Any,
    batches: Batches,
    validation: Batches | None,
    options: Options,
    class_weight: dict[int, float] | None = None,
    run_dir: Path | None = None,
    title: str = "",
) -> tuple[History, int]:
    """Train a model; it ends with the weights of its best epoch.

    The best epoch is the one with the highest validation accuracy, and among equals the one with the lowest validation
    loss; without validation it is the last.

    Parameters
    ----------
    model
        Compiled, with the metric accuracy.
    batches, validation
        What it is trained on, and what chooses the epoch, as wide as its input.
    options
        Epochs, seed and patience.
    class_weight
        Label index -> weight of its clips in the loss.
    run_dir
        Where every epoch is kept; training goes on after the last one that is found there. If it has a folder for
        TensorBoard, the epochs are logged there.
    title
        What the progress bar calls this training, when it is one of many; otherwise every epoch leaves a line.

    Returns
    -------
    history : list of dict
        `epoch` (from 1), `loss`, `accuracy`, and with validation `val_loss` and `val_accuracy`.
    best : int
        The best epoch, from 1.

    Raises
    ------
    UserError
        The loss is not a number any more.
    """
    checkpoint = None if run_dir is None else Checkpoint(run_dir)
    history, best_weights = ([], []) if checkpoint is None else checkpoint.restore(model, len(batches))
    weights = np.ones(model.output_shape[1], np.float32)
    for label, weight in (class_weight or {}).items():
        weights[label] = weight
    logs = keras.callbacks.CallbackList(_logs(run_dir), model=model)
    logs.on_train_begin()
    # Of the whole fit, so that it says how long that takes.
    bar = tqdm(total=options.epochs * len(batches), unit="batch", leave=False, disable=not is_watched())
    bar.n = bar.initial = len(history) * len(batches)
    with bar:
        while len(history) < options.epochs and not _patience_is_over(history, options.patience):
            epoch, started = len(history), time.perf_counter()
            bar.set_description(f"{title} epoch {epoch + 1}/{options.epochs}".strip())
            batches.shuffle(options.seed, epoch)
            reseed(model, options.seed, epoch)
            row = {"epoch": epoch + 1, **_train(model, batches, weights, bar, epoch)}
            if validation is not None:
                row |= _score(model, validation)
            history.append(row)
            is_best = best_epoch(history) == len(history)
            if is_best:
                best_weights = model.get_weights()
            if checkpoint is not None:
                checkpoint.save(model, history, best_weights if is_best else None)
            logs.on_epoch_end(epoch, {name: row[name] for name in row if name != "epoch"})
            if not bar.disable and not title:
                bar.write(_line(row, options.epochs, time.perf_counter() - started), sys.stderr)
    logs.on_train_end()
    model.set_weights(best_weights)
    return history, best_epoch(history)


def _train(model: Any, batches: Batches, weights: npt.NDArray[np.float32], bar: Any, epoch: int) -> dict[str, float]:
    """Take a step on every batch; return the means over the clips, as they were on the way."""
    step, sums = steps(model).train, np.zeros(3)
    for index in range(len(batches)):
        X, y = batches[index]
        loss, n_right = step(X, y, weights[y.argmax(axis=1)])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {float(loss)} in epoch {epoch + 1}, so training has diverged; try a lower --learning-rate"
            )
        sums += float(loss) * len(y), int(n_right), len(y)
        bar.update()
    return {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}


def _score(model: Any, batches: Batches) -> dict[str, float]:
    """Return the means over the clips of batches that are not trained on."""
    step, sums = steps(model).score, np.zeros(3)
    for index in range(len(batches)):
        X, y = batches[index]
        loss, n_right = step(X, y, np.ones(len(y), np.float32))
        sums += float(loss) * len(y), int(n_right), len(y)
    return {"val_loss": sums[0] / sums[2], "val_accuracy": sums[1] / sums[2]}


def _patience_is_over(history: History, patience: int | None) -> bool:
    return patience is not None and bool(history) and len(history) - best_epoch(history) >= patience


def _logs(run_dir: Path | None) -> list[Any]:
    if run_dir is None or not (run_dir / LOGS).is_dir():
        return []
    from train.backend.tensorboard import EpochLog

    logs = own_folder(run_dir / LOGS)
    for folder in (path for path in logs.iterdir() if path.is_dir()):
        own_folder(folder)
    return [EpochLog(logs)]


def balanced_weights(labels: Rows) -> dict[int, float]:
    """Return for every class the weight that makes all classes count alike, with mean 1 over the clips."""
    counts = np.bincount(labels)
    return {label: len(labels) / (len(counts) * n) for label, n in enumerate(counts.tolist()) if n}


def _line(row: dict[str, float], epochs: int, seconds: float) -> str:
    line = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:6.1%}"
    if "val_loss" in row:
        line += f"  val {row['val_loss']:.4f} {row['val_accuracy']:6.1%}"
    return f"{line}  {human_seconds(seconds)}"

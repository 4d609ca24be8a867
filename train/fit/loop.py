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
from cache.shared.command import is_watched
from cache.shared.errors import UserError
from cache.shared.text import human_seconds
from cache.shared.walk import is_background
from train.backend.keras import keras, reseed
from train.dataset.batches import Batches
from train.fit.checkpoint import Checkpoint, Weights, best_epoch
from train.fit.options import Options
from train.fit.traced import as_if_new
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
    loop = _Epochs(batches, options, run_dir, title)
    model.fit(
        batches,
        validation_data=validation,
        epochs=options.epochs,
        class_weight=class_weight,
        callbacks=[*_logs(run_dir), loop],
        shuffle=False,  # the batches come in an order of their own
        verbose=0,
    )
    model.set_weights(loop.best_weights)
    return loop.history, best_epoch(loop.history)


def _logs(run_dir: Path | None) -> list[Any]:
    if run_dir is None or not (run_dir / LOGS).is_dir():
        return []
    from train.backend.tensorboard import EpochLog

    return [EpochLog(run_dir / LOGS)]


def balanced_weights(labels: Rows) -> dict[int, float]:
    """Return for every class the weight that makes all classes count alike, with mean 1 over the clips."""
    counts = np.bincount(labels)
    return {label: len(labels) / (len(counts) * n) for label, n in enumerate(counts.tolist()) if n}


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc]
    """What happens around the epochs: order, progress, history, best weights, checkpoint, stop."""

    def __init__(self, batches: Batches, options: Options, run_dir: Path | None, title: str) -> None:
        super().__init__()
        self.batches, self.options, self.title = batches, options, title
        self.history: History = []
        self.best_weights: Weights = []
        self.checkpoint = None if run_dir is None else Checkpoint(run_dir)
        # Of the whole fit, so that it says how long that takes.
        n_batches = options.epochs * len(batches)
        self.bar = tqdm(total=n_batches, unit="batch", leave=False, disable=not is_watched())

    def on_train_begin(self, logs: Any = None) -> None:
        if self.checkpoint is not None:
            self.history, self.best_weights = self.checkpoint.restore(self.model, len(self.batches))
        self.bar.n = self.bar.initial = len(self.history) * len(self.batches)
        # Where fit() starts, whatever it was told: Keras's own BackupAndRestore sets it the same way.
        self.model._initial_epoch = self.options.epochs if self._patience_is_over() else len(self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.shuffle(self.options.seed, epoch)
        reseed(self.model, self.options.seed, epoch)
        self.started = time.perf_counter()
        self.bar.set_description(f"{self.title} epoch {epoch + 1}/{self.options.epochs}".strip())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update()
        if not math.isfinite(logs["loss"]):
            self.bar.close()
            raise UserError(
                f"the loss is {logs['loss']} in epoch {len(self.history) + 1}, so training has diverged; "
                "try a lower --learning-rate"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.history.append({"epoch": epoch + 1, **{name: float(logs[name]) for name in logs}})
        is_best = best_epoch(self.history) == len(self.history)
        if is_best:
            self.best_weights = self.model.get_weights()
        if self.checkpoint is not None:
            self.checkpoint.save(self.model, self.history, self.best_weights if is_best else None)
        if not self.bar.disable and not self.title:
            self.bar.write(_line(self.history[-1], self.options.epochs, time.perf_counter() - self.started), sys.stderr)
        if self._patience_is_over():
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()

    def _patience_is_over(self) -> bool:
        if self.options.patience is None or not self.history:
            return False
        return len(self.history) - best_epoch(self.history) >= self.options.patience


def _line(row: dict[str, float], epochs: int, seconds: float) -> str:
    line = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:6.1%}"
    if "val_loss" in row:
        line += f"  val {row['val_loss']:.4f} {row['val_accuracy']:6.1%}"
    return f"{line}  {human_seconds(seconds)}"

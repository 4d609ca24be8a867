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
from train.backend.keras import keras, reseed
from train.dataset.augment import Augmentation
from train.dataset.batches import Batches
from train.fit.checkpoint import Checkpoint, Weights, best_epoch
from train.fit.options import Options
from train.models import recipes as models
from train.runs.tables import History

Rows = npt.NDArray[np.intp]


def train_by_recipe(
    cache: Cache,
    options: Options,
    train_rows: Rows,
    val_rows: Rows,
    run_dir: Path | None = None,
    title: str = "",
    log_dir: Path | None = None,
) -> tuple[Any, History, int]:
    """Build the model that the options name and train it as its recipe says.

    Parameters
    ----------
    cache
        Holds the rows.
    options
        The model by name, and what the user decides about its training.
    train_rows, val_rows, run_dir, title, log_dir
        See train_model().

    Returns
    -------
    model : keras.Model
        Trained, of the full width.
    history, best
        See train_model().
    """
    recipe, n_classes = models.recipe(options.model), len(cache.class_names)
    n_frames = cache.columns["n_frames"].astype(np.int64)
    widest = int(n_frames[np.concatenate([train_rows, val_rows])].max())
    n_steps = options.epochs * math.ceil(len(train_rows) / options.batch_size)
    model = models.build_to_train(options.model, n_classes, options.learning_rate, n_steps, widest)
    history, best = train_model(
        model,
        cache.X,
        cache.y,
        train_rows,
        val_rows,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        class_weight=balanced_weights(cache.labels[train_rows]) if options.class_weight else None,
        patience=options.patience,
        augmentation=recipe.augmentation,
        n_frames=n_frames,
        run_dir=run_dir,
        title=title,
        log_dir=log_dir,
    )
    whole = models.build_model(options.model, n_classes)
    whole.set_weights(model.get_weights())
    return whole, history, best


def train_model(
    model: Any,
    X: npt.NDArray[Any],
    y: npt.NDArray[np.float32],
    train_rows: Rows,
    val_rows: Rows,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    class_weight: dict[int, float] | None = None,
    patience: int | None = None,
    augmentation: Augmentation | None = None,
    n_frames: npt.NDArray[np.integer] | None = None,
    run_dir: Path | None = None,
    title: str = "",
    log_dir: Path | None = None,
) -> tuple[History, int]:
    """Train a model; it ends with the weights of its best epoch.

    The best epoch is the one with the highest validation accuracy, and among equals the one with the lowest validation
    loss; without validation rows it is the last.

    Parameters
    ----------
    model
        Compiled, with the metric accuracy; the columns of X beyond its width must hold padding alone.
    X, y
        Spectrograms and one-hot labels of all rows, mapped.
    train_rows, val_rows
        Indices into X; `val_rows` may be empty.
    epochs
        How many at most.
    batch_size
        Rows an optimiser step.
    seed
        Decides the order of the rows, and what random layers draw, in every epoch.
    class_weight
        Label index -> weight of its clips in the loss.
    patience
        Stop when so many epochs have passed since the best one.
    augmentation, n_frames
        How the training rows are varied, and the frames of every clip; see Batches.
    run_dir
        Where every epoch is kept; training goes on after the last one that is found there.
    title
        What the progress bar calls this training, when it is one of many; otherwise every epoch leaves a line.
    log_dir
        Where to log for TensorBoard.

    Returns
    -------
    history : list of dict
        `epoch` (from 1), `loss`, `accuracy`, and with validation rows `val_loss` and `val_accuracy`.
    best : int
        The best epoch, from 1.

    Raises
    ------
    UserError
        The loss is not a number any more.
    """
    n_columns = model.input_shape[2]
    batches = Batches(X, y, train_rows, batch_size, n_columns, augmentation, n_frames)
    loop = _Epochs(batches, epochs, seed, patience, run_dir, title)
    model.fit(
        batches,
        validation_data=Batches(X, y, val_rows, batch_size, n_columns) if len(val_rows) else None,
        epochs=epochs,
        class_weight=class_weight,
        callbacks=[*_logs(log_dir), loop],
        shuffle=False,  # the batches come in an order of their own
        verbose=0,
    )
    model.set_weights(loop.best_weights)
    return loop.history, best_epoch(loop.history)


def _logs(log_dir: Path | None) -> list[Any]:
    if log_dir is None:
        return []
    from train.backend.tensorboard import EpochLog

    return [EpochLog(log_dir)]


def balanced_weights(labels: Rows) -> dict[int, float]:
    """Return for every class the weight that makes all classes count alike, with mean 1 over the clips."""
    counts = np.bincount(labels)
    return {label: len(labels) / (len(counts) * n) for label, n in enumerate(counts.tolist()) if n}


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc]
    """What happens around the epochs: order, progress, history, best weights, checkpoint, stop."""

    def __init__(
        self, batches: Batches, epochs: int, seed: int, patience: int | None, run_dir: Path | None, title: str
    ) -> None:
        super().__init__()
        self.batches, self.epochs, self.seed, self.patience, self.title = batches, epochs, seed, patience, title
        self.history: History = []
        self.best_weights: Weights = []
        self.checkpoint = None if run_dir is None else Checkpoint(run_dir)
        self.bar = tqdm(total=len(batches), unit="batch", leave=False, disable=not is_watched())

    def on_train_begin(self, logs: Any = None) -> None:
        if self.checkpoint is not None:
            self.history, self.best_weights = self.checkpoint.restore(self.model, len(self.batches))
        # Where fit() starts, whatever it was told: Keras's own BackupAndRestore sets it the same way.
        self.model._initial_epoch = self.epochs if self._patience_is_over() else len(self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.shuffle(self.seed, epoch)
        reseed(self.model, self.seed, epoch)
        self.started = time.perf_counter()
        self.bar.reset(len(self.batches))
        self.bar.set_description(f"{self.title} epoch {epoch + 1}/{self.epochs}".strip())

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
            self.bar.write(_line(self.history[-1], self.epochs, time.perf_counter() - self.started), sys.stderr)
        if self._patience_is_over():
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()

    def _patience_is_over(self) -> bool:
        if self.patience is None or not self.history:
            return False
        return len(self.history) - best_epoch(self.history) >= self.patience


def _line(row: dict[str, float], epochs: int, seconds: float) -> str:
    line = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:6.1%}"
    if "val_loss" in row:
        line += f"  val {row['val_loss']:.4f} {row['val_accuracy']:6.1%}"
    return f"{line}  {human_seconds(seconds)}"

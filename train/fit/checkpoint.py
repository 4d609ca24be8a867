"""Checkpoint: the state that a fit keeps after every epoch, so that it can go on after any interruption."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.shared.errors import UserError
from train.runs.tables import History, read_history, write_history

Weights = list[npt.NDArray[Any]]


def best_epoch(history: History) -> int:
    """Return the best epoch, from 1: by validation accuracy, then by validation loss; without validation the last."""
    if "val_accuracy" not in history[0]:
        return len(history)
    return 1 + max(range(len(history)), key=lambda i: (history[i]["val_accuracy"], -history[i]["val_loss"]))


class Checkpoint:
    """The state of a fit after its last whole epoch, in a run directory.

    Each file is replaced by a rename, so a kill at any moment leaves the old or the new one (Keras's BackupAndRestore
    overwrites in place, and keeps neither history nor best weights). They are written history first, then the model
    with its optimiser, then the best weights; the optimiser's step count says which epoch the model has finished, and
    restore() brings the other two in line with it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.folder = run_dir / "checkpoint"
        self.folder.mkdir(exist_ok=True)

    def save(self, model: Any, history: History, best_weights: Weights | None) -> None:
        """Keep an epoch; `best_weights` are its weights if it is the best so far, else None."""
        write_history(self.run_dir, history)
        model.save_weights(self.folder / "next.weights.h5")
        (self.folder / "next.weights.h5").replace(self.folder / "latest.weights.h5")
        if best_weights is not None:
            with (self.folder / "next.npz").open("wb") as file:
                np.savez(file, *best_weights)
            (self.folder / "next.npz").replace(self.folder / "best.npz")

    def restore(self, model: Any, n_batches: int) -> tuple[History, Weights]:
        """Load the last kept epoch into a model; return the history up to it and the best weights, empty if none is.

        Parameters
        ----------
        model
            Compiled as in the interrupted fit.
        n_batches
            Optimiser steps an epoch.
        """
        latest = self.folder / "latest.weights.h5"
        if not latest.exists():
            return [], []
        try:
            model.optimizer.build(model.trainable_variables)
            model.load_weights(latest)
            n_epochs = int(model.optimizer.iterations) // n_batches
            history = read_history(self.run_dir)[:n_epochs]
            if best_epoch(history) == n_epochs:
                return history, model.get_weights()
            with np.load(self.folder / "best.npz", allow_pickle=False) as best:
                return history, [best[name] for name in best.files]
        except (OSError, UserError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"{self.folder} is damaged, so this fit cannot go on ({error}); start a new one") from None

    def discard(self) -> None:
        """Delete what only an interrupted fit needs."""
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

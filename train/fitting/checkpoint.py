"""Checkpoint: the epochs or folds that an unfinished run keeps, so that it can go on after any interruption."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import own_folder, replacing
from train.backend.types import Model, Weights
from train.runs.directory import CHECKPOINT, own_cache
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import History, read_history, write_history


def best_epoch(history: History) -> int:
    """Return the best epoch, from 1: by validation accuracy, then by validation loss; without validation the last."""
    if "val_accuracy" not in history[0]:
        return len(history)
    return 1 + max(range(len(history)), key=lambda i: (history[i]["val_accuracy"], -history[i]["val_loss"]))


class Checkpoint:
    """The state of a fit after its last whole epoch, in a run directory.

    Each file is replaced by a rename, so a kill at any moment leaves the old or the new file (Keras's BackupAndRestore
    overwrites in place, and keeps neither history nor best weights). The history is written first, then the model with
    its optimiser, then the best weights. The optimiser's step count says which epoch the model has finished, and
    restore() brings the other two files in line with it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.folder = own_folder(run_dir / CHECKPOINT)

    def save(self, model: Model, history: History, best_weights: Weights | None) -> None:
        """Keep an epoch; `best_weights` are its weights if it is the best epoch so far, else None."""
        write_history(self.run_dir, history)
        with replacing(self.folder / "latest.weights.h5", sync=True) as file:
            model.save_weights(file)
        if best_weights is not None:
            with replacing(self.folder / "best.npz", sync=True) as file:
                np.savez(file, *best_weights)

    def restore(self, model: Model, n_batches: int) -> tuple[History, Weights]:
        """Load the last kept epoch into a model, which was compiled as in the interrupted fit.

        Returns the history and the best weights up to that epoch; both are empty if no epoch was kept. An epoch has
        `n_batches` optimiser steps.
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


def keep_fold(run_dir: Path, number: int, arrays: dict[str, npt.NDArray[Any]], summary: dict[str, object]) -> None:
    """Keep a finished fold: its arrays, and a summary that JSON can hold."""
    with replacing(run_dir / CHECKPOINT / f"fold-{number}.npz", sync=True) as file:
        np.savez(file, said=np.array(json.dumps(summary)), **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle


def kept_folds(run_dir: Path) -> dict[int, tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]]:
    """Return what keep_fold() kept, by number; a fold that cannot be read is skipped, and so trained again."""
    kept = {}
    for file in (run_dir / CHECKPOINT).glob("fold-*.npz"):
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
            said = json.loads(str(arrays.pop("said")))
            kept[int(file.stem.partition("-")[2])] = (arrays, said)
    return kept


def discard(run_dir: Path) -> None:
    """Delete the files that only an interrupted run needs."""
    for file in (run_dir / CHECKPOINT).iterdir():
        file.unlink()
    (run_dir / CHECKPOINT).rmdir()


@contextmanager
def resumable(run_dir: Path, command: str, kept: Callable[[], str]) -> Iterator[None]:
    """Add to the message of an early end which work is kept and how to go on."""
    go_on = f"go on with `python -m train {command} --resume {run_dir}`"
    try:
        yield
    except Interrupted as stop:
        stop.kept = f"{kept()}; {go_on}"
        raise
    except OSError as error:
        # HDF5 puts a paragraph into the message, but keeps the system's number.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{run_dir} cannot be written ({reason}); put that right, then {go_on}") from None


def record_to_resume(run_dir: Path, command: str) -> Record:
    """Read the record of an unfinished run; a UserError if it is finished, or of another command."""
    record = read_record(run_dir)
    if record.command != command:
        what = {"fit": "a fit", "crossval": "a cross-validation"}[record.command]
        raise UserError(f"{run_dir} is {what}; go on with `python -m train {record.command} --resume {run_dir}`")
    if record.state == FINISHED:
        raise UserError(f"{run_dir} is finished; there is nothing to go on with")
    return record


def cache_to_resume(run_dir: Path, record: Record, cache_file: Path | None) -> Cache:
    """Open the cache of an unfinished run, where it was or where it is now.

    Raises a UserError if it is not there, cannot be used, or has changed.
    """
    otherwise = f"so say where it is: `python -m train {record.command} CACHE --resume {run_dir}`"
    cache = own_cache(run_dir, record, cache_file, otherwise)
    if cache.fingerprint != record.cache.fingerprint:
        raise UserError(f"{cache.file} has changed since {run_dir} was started on it; start a new {record.command}")
    return cache

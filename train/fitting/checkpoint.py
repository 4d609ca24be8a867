"""Checkpoint: the epochs that an unfinished fit keeps, and how a run is interrupted and goes on."""

import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from cache import Cache
from cache.shared.cli import command_line
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import own_folder, replacing
from train.backend.types import Model, Weights
from train.fitting.options import Options, checked
from train.runs.directory import CHECKPOINT, held, own_cache
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import History, read_history, write_history

_LATEST, _BEST = "latest.npz", "best.npz"
_PATIENCE = 0.5  # seconds
_LATEST_BEFORE = "latest.weights.h5"  # in checkpoints of earlier versions


def best_epoch(history: History) -> int:
    """Return the best epoch, from 1: by validation accuracy, then by validation loss; without validation the last."""
    if "val_accuracy" not in history[0]:
        return len(history)
    return 1 + max(range(len(history)), key=lambda i: (history[i]["val_accuracy"], -history[i]["val_loss"]))


class Checkpoint:
    """The state of a fit after its last whole epoch, in a run directory.

    Each file is replaced by a rename, so a kill at any moment leaves the old or the new file (Keras's BackupAndRestore
    overwrites in place, and keeps neither history nor best weights). The history is written first, then the best
    weights, if the model of this epoch takes the place of theirs, then the model with its optimiser. The optimiser's
    step count says which epoch the model has finished, and restore() brings the other two files in line with it.

    The arrays are in archives of NumPy, which are written in an eighth of the time of Keras's own files of weights: a
    tenth of an epoch of a few hundred clips. A thread writes them while the next epoch is trained, because it takes as
    long again until the disk has them. At the end of a block `with Checkpoint(..)` they are written.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.folder = own_folder(run_dir / CHECKPOINT)
        self._writer = ThreadPoolExecutor(1)
        self._written: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._raise_errors()
        # An interrupted command has a second to say how to go on; what is not whole by then is given up.
        wait(self._written, _PATIENCE)
        self._writer.shutdown(wait=False)

    def save(self, model: Model, history: History, best_weights: Weights) -> None:
        """Begin to keep an epoch, and the weights of the best epoch so far; raises the OSError of the epoch before."""
        latest = [*model.get_weights(), *(variable.numpy() for variable in model.optimizer.variables)]
        self._raise_errors()
        self._written = [self._writer.submit(self._keep, list(history), best_weights, latest)]

    def _raise_errors(self) -> None:
        """Wait until the last epoch is written, and raise the error if it could not be."""
        while self._written:
            self._written.pop().result()

    def _keep(self, history: History, best_weights: Weights, latest: Weights) -> None:
        write_history(self.run_dir, history)
        if best_epoch(history) == len(history) - 1:
            self._write(_BEST, best_weights)
        self._write(_LATEST, latest)

    def restore(self, model: Model, n_batches: int) -> tuple[History, Weights]:
        """Load the last kept epoch into a model, which was compiled as in the interrupted fit.

        Returns the history and the best weights up to that epoch; both are empty if no epoch was kept. An epoch has
        `n_batches` optimiser steps.
        """
        if not any((self.folder / name).exists() for name in (_LATEST, _LATEST_BEFORE)):
            return [], []
        try:
            model.optimizer.build(model.trainable_variables)
            self._load_latest(model)
            n_epochs = int(model.optimizer.iterations) // n_batches
            history = read_history(self.run_dir)[:n_epochs]
            if best_epoch(history) == n_epochs:
                return history, model.get_weights()
            return history, self._read(_BEST)
        except (OSError, UserError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            message = f"{self.folder} cannot be used, so this fit cannot go on ({error}); start a new one"
            raise UserError(message) from None

    def _load_latest(self, model: Model) -> None:
        if not (self.folder / _LATEST).exists():
            model.load_weights(self.folder / _LATEST_BEFORE)
            return
        values = self._read(_LATEST)
        weights = model.get_weights()
        if [value.shape for value in values[: len(weights)]] != [value.shape for value in weights]:
            raise ValueError("it was made by a version that builds another network")
        model.set_weights(values[: len(weights)])
        for variable, value in zip(model.optimizer.variables, values[len(weights) :], strict=True):
            variable.assign(value)

    def _write(self, name: str, values: Weights) -> None:
        with replacing(self.folder / name, sync=True) as file:
            np.savez(file, *values)

    def _read(self, name: str) -> Weights:
        with np.load(self.folder / name, allow_pickle=False) as found:
            return [found[key] for key in found.files]


@contextmanager
def unfinished(run_dir: Path, command: str, kept: Callable[[], str]) -> Iterator[None]:
    """Have a run directory to oneself until the run is finished, then delete what only an interrupted run needs.

    The message of an early end gets the work that is kept, and how to go on.
    """
    go_on = f"go on with `{command_line('train', command, '--resume', run_dir)}`"
    with held(run_dir):
        try:
            yield
        except Interrupted as stop:
            stop.kept = f"{kept()}; {go_on}"
            raise
        except OSError as error:
            # HDF5 puts a paragraph into the message, but keeps the system's number.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(f"{run_dir} cannot be written ({reason}); put that right, then {go_on}") from None
    for file in (run_dir / CHECKPOINT).iterdir():
        file.unlink()
    (run_dir / CHECKPOINT).rmdir()


def resumed(run_dir: Path, command: str, cache_file: Path | None) -> tuple[Record, Options, Cache]:
    """Read the record of an unfinished run and its options, and open its cache, where it was or where it is now.

    Raises a UserError if the run is finished or of another command, an option makes no sense, or the cache is not
    there, cannot be used, or has changed.
    """
    record = read_record(run_dir)
    if record.command != command:
        what = {"fit": "a fit", "crossval": "a cross-validation"}[record.command]
        go_on = command_line("train", record.command, "--resume", run_dir)
        raise UserError(f"{run_dir} is {what}; go on with `{go_on}`")
    if record.state == FINISHED:
        raise UserError(f"{run_dir} is finished; there is nothing to go on with")
    try:
        options = Options(**checked(record.fit_options))
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"{run_dir / 'run.json'} is damaged: the option {error}; start again") from None
    otherwise = f"so say where it is: `{command_line('train', command, 'CACHE', '--resume', run_dir)}`"
    cache = own_cache(run_dir, record, cache_file, otherwise)
    if cache.fingerprint != record.cache.fingerprint:
        raise UserError(f"{cache.file} has changed since {run_dir} was started on it; start a new {command}")
    return record, options, cache

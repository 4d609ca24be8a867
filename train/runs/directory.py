"""Run directories: what lies in one, written down once; how one is made, and opened.

model.keras      the trained model; plain Keras loads it
run.json         what it was trained on, how, and, once it is finished, how well it did: train.runs.record
split.csv        path, sha256, split of every clip: by its content a clip is known again under any name
history.csv      one line an epoch (crossval: of every fold)
predictions.csv  path, class, predicted class and probabilities of every test clip (crossval: of every fold)
tensorboard/     what --tensorboard logs
report.html      all of that to look at and to listen to
recordings.html  what `evaluate --recordings` says, the last time
figures/         the figures of both as PNG
checkpoint/      only while it is unfinished: the last epoch or the finished folds, and the lock of who trains it

The tables are written and read by train.runs.tables. Runs of earlier versions have path, split in `split.csv` and
sha256, split of the same clips in `content.csv`; they are still read.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.file.layout import X_DTYPES, lacking
from cache.file.settings import SETTINGS, Setting
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.files import locked, own_folder
from train.runs.record import FINISHED, Record, read_record

LOGS = "tensorboard"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Run:
    """A finished fit whose run directory was opened and found in order.

    Attributes
    ----------
    folder
        The run directory.
    record
        What its `run.json` says.
    """

    folder: Path
    record: Record

    @property
    def class_names(self) -> tuple[str, ...]:
        """The position is the index into the model's output."""
        return tuple(self.record.class_names)

    @property
    def settings(self) -> dict[str, Setting]:
        """The feature settings the model was trained on, by the names in `cache.file.settings.SETTINGS`."""
        # One that came later has the value that earlier caches have.
        known: dict[str, Any] = {**lacking(1), **self.record.settings}
        return {name: known[name] for name in SETTINGS}

    @property
    def feature_version(self) -> int:
        """Version of the code that computed those features."""
        return self.record.feature_version

    @property
    def dtype(self) -> str:
        """Type of X in the cache: features are rounded to it before the model sees them."""
        return self.record.cache.dtype

    @property
    def temperature(self) -> float:
        """What the model's probabilities are calibrated with; 1 where it was not fitted."""
        return 1.0 if self.record.temperature is None else self.record.temperature


def new_run(run: Path | None, name: str) -> Path:
    """Make a run directory.

    Parameters
    ----------
    run
        Where; an existing folder must be empty. None: `runs/<date>-<time>-<name>`.
    name
        Ends the default directory's name.

    Raises
    ------
    UserError
        There is something there already.
    """
    if run is not None:
        if (run / CHECKPOINT / "lock").exists():
            with held(run):
                pass
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise UserError(f"{run} exists already; give another --run, or delete it first")
        run.mkdir(parents=True, exist_ok=True)
        return run
    base = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    for folder in (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 100))):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{base} exists already; give another with --run")


def held(folder: Path) -> AbstractContextManager[bool]:
    """Have an unfinished run directory to oneself; a UserError says who has it."""
    lock = own_folder(folder / CHECKPOINT) / "lock"
    return locked(lock, f"is at work in {folder}", "let it finish first", notice)


def open_run(folder: Path) -> Run:
    """Read and check the bundle of a finished run; the model itself is left to load_model().

    Raises
    ------
    UserError
        The directory is missing, is no run, is damaged, or its fit was interrupted.
    """
    record = read_record(folder)
    if record.command != "fit":
        raise UserError(f"{folder} holds a cross-validation and no model; make one with `python -m train fit`")
    if record.state != FINISHED:
        raise UserError(f"{folder} is an unfinished fit; go on with `python -m train fit --resume {folder}`")
    run, cache = Run(folder, record), record.cache
    try:
        plain = all(isinstance(value, Setting) for value in run.settings.values())
        strings = (run.dtype, cache.file, cache.fingerprint, record.options["group_by"] or "", *run.class_names)
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'run.json'} is not the record of a fit ({error} is missing or wrong)") from None
    named = run.class_names and all(isinstance(value, str) for value in strings)
    if not (named and plain and isinstance(run.feature_version, int) and run.dtype in X_DTYPES):
        raise UserError(f"{folder / 'run.json'} is damaged: its classes or feature settings make no sense; train again")
    thresholds = record.thresholds.values() if isinstance(record.thresholds, dict) else [None]
    numbers = all(isinstance(value, int | float) for value in (run.temperature, *thresholds))
    if not (numbers and run.temperature > 0 and all(0 <= value <= 1 for value in thresholds)):
        raise UserError(f"{folder / 'run.json'} is damaged: its temperature or thresholds make no sense; train again")
    return run

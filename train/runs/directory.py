"""Run directories: the files in one; how one is made, and opened.

model.keras      the trained model; plain Keras loads it
run.json         what it was trained on, how, and, once it is finished, how well it did: train.runs.record
split.csv        path, sha256, split of every clip: a clip under another name is recognised by its content
history.csv      one line an epoch (crossval: of every fold)
predictions.csv  path, class, predicted class and probabilities of every test clip (crossval: of every fold)
nearest.csv      path of every test clip, and of the clips most like it to the network that was tested on it
tensorboard/     what --tensorboard logs
report.html      all of that to look at and to listen to
recordings.html  the last result of `evaluate --recordings`
figures/         the figures of both as PNG
checkpoint/      only while it is unfinished: the last epoch or the finished folds, and the lock of its process

The tables are written and read by train.runs.tables.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cache.file.settings import SETTINGS, Setting
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.files import as_path, locked, own_folder
from cache.shared.segment import Crop
from train.runs.record import FINISHED, Record, read_record

LOGS = "tensorboard"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Run:
    """A finished fit: its run directory, and what its `run.json` says."""

    folder: Path
    record: Record

    @property
    def class_names(self) -> tuple[str, ...]:
        """The position is the index into the model's output."""
        return tuple(self.record.class_names)

    @property
    def settings(self) -> dict[str, Setting]:
        """The feature settings the model was trained on, by the names in `cache.file.settings.SETTINGS`."""
        return {name: self.record.settings[name] for name in SETTINGS}

    @property
    def feature_version(self) -> int:
        """Version of the code that computed those features."""
        return self.record.feature_version

    @property
    def dtype(self) -> str:
        """Type of X in the cache: features are rounded to it before the model sees them."""
        return self.record.cache.dtype

    @property
    def is_cropped(self) -> bool:
        """Whether the model was trained and scored on windows of its long clips."""
        return self.record.cropping != Crop()

    @property
    def temperature(self) -> float:
        """The temperature that calibrates the model's probabilities; 1 where it was not fitted."""
        return 1.0 if self.record.temperature is None else self.record.temperature


def new_run(run: Path | None, name: str) -> Path:
    """Make a run directory: `run`, which must be empty if it exists; or else `runs/<date>-<time>-<name>`.

    Raises a UserError if there is something there already, and a ModuleNotFoundError, before a directory is made, if
    nothing can be trained here.
    """
    if find_spec("tensorflow") is None:
        raise ModuleNotFoundError("TensorFlow is not installed", name="tensorflow")
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


def open_run(folder: str | Path) -> Run:
    """Read and check the bundle of a finished fit; the model itself is left to load_model().

    Raises a UserError if the directory is missing, is not a run, is damaged, or its fit was interrupted.
    """
    folder = as_path(folder, "run")
    record = read_record(folder)
    if record.command != "fit":
        raise UserError(f"{folder} is a cross-validation, which has no model; make one with `python -m train fit`")
    if record.state != FINISHED:
        raise UserError(f"{folder} is an unfinished fit; go on with `python -m train fit --resume {folder}`")
    return Run(folder, record)

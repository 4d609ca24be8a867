"""What a run directory holds, and the bundle that a model needs later.

model.keras      the trained model; plain Keras loads it
run.json         what it was trained on, how, and how well it did; written last, so it marks a finished run
split.csv        path, split of every clip
content.csv      sha256, split of every clip's content, so that a clip is known again under any name
history.csv      one line an epoch (crossval: of every fold)
predictions.csv  path, class, predicted class and probabilities of every test clip
tensorboard/     what --tensorboard logs
report.html      all of that to look at and to listen to
figures/         its figures as PNG
checkpoint/      only while the fit is unfinished
"""

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.file.layout import X_DTYPES
from cache.file.settings import SETTINGS, Setting
from cache.shared.errors import UserError

RUN_FORMAT = 1
UNFINISHED, FINISHED = "unfinished", "finished"
LOGS = "tensorboard"


@dataclass(frozen=True)
class Run:
    """A run directory that was opened and found in order.

    Attributes
    ----------
    folder
        The run directory.
    record
        All of `run.json`.
    class_names
        The position is the index into the model's output.
    settings
        The feature settings the model was trained on, by the names in `cache.file.settings.SETTINGS`.
    feature_version
        Version of the code that computed those features.
    dtype
        Type of X in the cache: features are rounded to it before the model sees them.
    """

    folder: Path
    record: dict[str, Any]
    class_names: tuple[str, ...]
    settings: dict[str, Setting]
    feature_version: int
    dtype: str


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


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace `run.json` by a rename."""
    beside = folder / "run.json.tmp"
    beside.write_text(json.dumps({"run_format": RUN_FORMAT, **record}, indent=2) + "\n", encoding="utf-8")
    beside.replace(folder / "run.json")


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, replaced by a rename."""
    beside = file.with_suffix(".tmp")
    with beside.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    beside.replace(file)


def read_table(file: Path) -> list[dict[str, str]]:
    """Read a CSV file of a run directory: a dict a line, by the header's names.

    Raises
    ------
    UserError
        It is missing or no CSV file.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except FileNotFoundError:
        raise UserError(f"{file} is missing, so this run directory is not whole; train again") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file} is damaged ({error}); train again") from None


def open_run(folder: Path) -> Run:
    """Read and check the bundle of a finished run; the model itself is left to load_model().

    Raises
    ------
    UserError
        The directory is missing, is no run, is damaged, or its fit was interrupted.
    """
    record = read_record(folder)
    if record.get("command") != "fit":
        raise UserError(f"{folder} holds a cross-validation and no model; make one with `python -m train fit`")
    if record["state"] != FINISHED:
        raise UserError(f"{folder} is an unfinished fit; go on with `python -m train fit --resume {folder}`")
    try:
        cache, options = record["cache"], record["options"]
        run = Run(
            folder=folder,
            record=record,
            class_names=tuple(record["class_names"]),
            settings={name: record["settings"][name] for name in SETTINGS},
            feature_version=record["feature_version"],
            dtype=cache["dtype"],
        )
        strings = (run.dtype, cache["file"], cache["fingerprint"], options["group_by"] or "", *run.class_names)
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'run.json'} is not the record of a fit ({error} is missing or wrong)") from None
    plain = all(isinstance(value, Setting) for value in run.settings.values())
    named = run.class_names and all(isinstance(value, str) for value in strings)
    if not (named and plain and isinstance(run.feature_version, int) and run.dtype in X_DTYPES):
        raise UserError(f"{folder / 'run.json'} is damaged: its classes or feature settings make no sense; train again")
    return run


def read_record(folder: Path) -> dict[str, Any]:
    """Read `run.json`, of a finished or an unfinished run.

    Raises
    ------
    UserError
        The directory is missing or is no run of this format.
    """
    file = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run directory; make one with `python -m train fit`")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is not a run directory: it has no run.json") from None
    except (ValueError, RecursionError):
        raise UserError(f"{file} is damaged: it is not JSON; train again") from None
    if not isinstance(record, dict) or record.get("state") not in (UNFINISHED, FINISHED):
        raise UserError(f"{file} is not the record of a run")
    if record.get("run_format") != RUN_FORMAT:
        raise UserError(f"{file} has format {record.get('run_format')!r}, and this program reads format {RUN_FORMAT}")
    return record

"""Labels to open beside the sound, a file a recording, in the format of another program."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import IO

from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.tree import is_background
from train.predict.formats import LABELS
from train.predict.predict import Kind, Prediction
from train.predict.regions import regions
from train.predict.sources import Source
from train.runs.directory import Run


def label_files(sources: Sequence[Source], format: str, out: Path | None, single: bool) -> dict[Path, Path | None]:
    """Return the file for the labels of each recording; None is standard output.

    Parameters
    ----------
    sources
        The recordings.
    format
        A key of `train.predict.formats.LABELS`.
    out
        A folder; where there is a single recording and no folder of that name, the file itself.
    single
        Whether a file was named, and not a folder or several.

    Raises
    ------
    UserError
        `out` is missing or no folder where there are several recordings, or two would be labelled in one file.
    """
    if single and (out is None or not out.is_dir()):
        return {sources[0].path: out}
    if out is None or (out.exists() and not out.is_dir()):
        raise UserError(f"every recording has a file of labels of its own; give a folder for them, as --out {format}")
    files: dict[Path, Path | None] = {}
    named: dict[Path, Path] = {}
    for source in sources:
        file = out / (source.name + LABELS[format].ENDING)
        if file in named:
            raise UserError(
                f"{source.path} and {named[file]} would both be labelled in {file}; give them one at a time"
            )
        files[source.path], named[file] = file, source.path
    return files


def write_labels(predictions: Iterable[Prediction], run: Run, format: str, files: dict[Path, Path | None]) -> None:
    """Write the labels of each recording; a file gets its name when it is whole, and one that is bad gets none."""
    band = float(run.settings["fmin"]), float(run.settings["fmax"])
    for path, found in groupby(predictions, key=lambda one: one.path):
        with suppress(_RejectedError), _published(files[path]) as out:
            # Rows name what means "none of them", and labels leave it out.
            named = (region for region in regions(_parts(found)) if not is_background(region.label))
            for line in LABELS[format].lines(path.name, named, band):
                out.write(line.encode("utf-8", "backslashreplace") + b"\n")
                out.flush()


class _RejectedError(Exception):
    """The recording is bad, so its labels are not published."""


def _parts(found: Iterable[Prediction]) -> Iterator[Prediction]:
    for one in found:
        if one.kind is Kind.REJECTED:
            raise _RejectedError
        if one.kind is not Kind.RECORDING:
            yield one


@contextmanager
def _published(file: Path | None) -> Iterator[IO[bytes]]:
    if file is None:
        yield sys.stdout.buffer
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as beside, beside.open("wb") as out:
        yield out

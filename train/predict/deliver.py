"""deliver(): what `predict` finds out, as it comes, to where the user wants it and in the format they want."""

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cache.shared.cli import complain, is_watched, notice
from cache.shared.errors import Interrupted, UserError
from cache.shared.text import printable
from train.predict import tables as rows
from train.predict.formats import LABELS
from train.predict.labels import label_files, write_labels
from train.predict.predict import Kind, Prediction
from train.predict.sources import Source
from train.runs.directory import Run

Classify = Callable[[Sequence[Source]], Iterable[Prediction]]

_LINES: dict[str, Callable[[Run, Prediction], bytes]] = {
    "text": rows.as_text,
    "csv": rows.as_csv,
    "json": rows.as_json,
}


def deliver(
    run: Run,
    sources: Sequence[Source],
    classify: Classify,
    format: str = "text",
    out: Path | None = None,
    resume: bool = False,
    single: bool = False,
) -> None:
    """Classify recordings and write what comes of it, line by line.

    Parameters
    ----------
    run
        The run that classifies.
    sources
        The recordings.
    classify
        Gives the predictions for some of them, in order.
    format
        Which of `train.predict.formats.PredictFormat`.
    out
        Where to write; None: standard output.
    resume
        Leave out the recordings that `out` has already.
    single
        Whether the user named a file, and not a folder or several.

    Raises
    ------
    UserError
        `out` exists, or holds something else, or a recording could not be used.
    """
    if format in LABELS:
        n_bad = _deliver_labels(run, sources, classify, format, out, resume, single)
    else:
        n_bad = _deliver_rows(run, sources, classify, format, out, resume)
    if n_bad:
        raise UserError(f"{n_bad} of {len(sources)} files could not be used")


def _deliver_rows(
    run: Run, sources: Sequence[Source], classify: Classify, format: str, out: Path | None, resume: bool
) -> int:
    def line_of(one: Prediction) -> bytes:
        return _LINES[format](run, one)

    if out is None:
        watched = _Watched(sources, out)
        header = rows.csv_header(run) if format == "csv" else b""
        with closing(watched.of(classify(sources))) as predictions:
            rows.write_rows(predictions, line_of, None, header)
        return watched.n_bad
    if format == "text" and resume:
        raise UserError("text cannot be taken up again; use --format csv or --format json with --resume")
    with rows.rows_file(run, out, format, resume) as (file, finished):
        left = [source for source in sources if rows.path(source) not in finished]
        _say_finished(len(sources) - len(left), len(sources))
        watched = _Watched(left, out)
        try:
            with closing(watched.of(classify(left))) as predictions:
                rows.write_rows(predictions, line_of, file)
        except Interrupted as interrupt:
            interrupt.kept = _kept(out, format)
            raise
    n_bad_before = sum(finished.get(rows.path(source)) == Kind.REJECTED for source in sources)
    return watched.n_bad + n_bad_before


def _deliver_labels(
    run: Run,
    sources: Sequence[Source],
    classify: Classify,
    format: str,
    out: Path | None,
    resume: bool,
    single: bool,
) -> int:
    files = label_files(sources, format, out, single)
    there = {path for path, file in files.items() if file is not None and file.exists()}
    if there and not resume:
        raise UserError(f"{files[min(there)]} exists already; go on with --resume, give another --out, or delete it")
    left = [source for source in sources if source.path not in there]
    _say_finished(len(there), len(sources))
    watched = _Watched(left, out)
    try:
        with closing(watched.of(classify(left))) as predictions:
            write_labels(predictions, run, format, files)
    except Interrupted as interrupt:
        if out is not None:
            interrupt.kept = _kept(out, format)
        raise
    return watched.n_bad


def _kept(out: Path, format: str) -> str:
    if format == "text":
        return f"what was found until now is in {out}"
    return f"what is finished is in {out}; give the same command with --resume to go on"


def _say_finished(n: int, n_all: int) -> None:
    if n:
        notice(f"{n} of {n_all} files are finished already")


class _Watched:
    """Predictions on their way, with a bar, a line for each file that is bad, and their number."""

    def __init__(self, sources: Sequence[Source], out: Path | None) -> None:
        self.n_bad = 0
        self.n_sources = len(sources)
        # Lines on a terminal show the progress themselves.
        self.quiet = not is_watched() or (out is None and sys.stdout.isatty())

    def of(self, predictions: Iterable[Prediction]) -> Generator[Prediction, None, None]:
        with self._bar() as bar:
            n_done = 0
            for one in predictions:
                if one.kind is Kind.REJECTED:
                    self.n_bad += 1
                    with tqdm.external_write_mode(file=sys.stderr):
                        complain(f"{one.path}: {one.reason}")
                if one.remark:
                    with tqdm.external_write_mode(file=sys.stderr):
                        notice(f"{one.path}: {one.remark}")
                n_done += one.kind is not Kind.WINDOW
                within = min(1.0, one.end / one.duration) if one.kind is Kind.WINDOW and one.duration else 0.0
                where = f" {rows.clock(one.end)}" if one.kind is Kind.WINDOW else ""
                bar.set_postfix_str(f"{n_done} of {self.n_sources} files, {printable(one.path.name)}{where}", False)
                bar.update(max(0.0, n_done + within - bar.n))
                yield one

    def _bar(self) -> "tqdm[Any]":
        return tqdm(
            total=self.n_sources,
            disable=self.quiet,
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar}|{postfix}, {remaining} left",
        )

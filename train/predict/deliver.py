"""deliver(): classify recordings, and write what is found, as it comes, where the user wants it."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from cache.shared.cli import command_line, complain, notice, progress_bar, signals_held
from cache.shared.errors import Interrupted, UserError
from cache.shared.text import printable
from train.predict.recordings import LABELS, Kind, Recording, Source, Window
from train.predict.rows import CLASSIFIED_BUT, as_csv, as_json, as_text, clock, csv_header, path, rows_file
from train.predict.sinks import Found, Labels, Out, Regions, Rows, Segments, Sink, label_files, to_file, to_stdout
from train.predict.windows import Detections
from train.runs.directory import Run

_LINES = {"text": as_text, "csv": as_csv, "json": as_json}


class UnusableFiles(UserError):
    """Some recordings could not be used; what is found in all others is written."""


class Output(NamedTuple):
    """Where predictions go."""

    format: str = "text"  # one of `train.predict.recordings.PredictFormat`
    out: Path | None = None  # a file, or for labels of several recordings a folder; None: standard output
    resume: bool = False  # skip the recordings that `out` has already
    single: bool = False  # whether the user named a file, and not a folder or several
    segments: Path | None = None  # a folder to write the detections into as files of sound
    every_window: bool = False  # whether text has a line for each window, and not for each detection


def deliver(
    run: Run, sources: Sequence[Source], predict: Callable[[Sequence[Source]], Iterable[Found]], output: Output
) -> None:
    """Write what `predict` finds in the recordings that are not finished yet, in their order.

    Raises a UserError if the output exists, or holds something else, or a recording could not be used; all others are
    written then.
    """
    with ExitStack() as stack:
        # Before the rows, which say whether the segments could be cut.
        sinks: list[Sink] = [] if output.segments is None else [Segments(run, sources, output.segments)]
        sink, finished = _labels(run, sources, output) if output.format in LABELS else _rows(run, output, stack)
        sinks.append(sink)
        left = [source for source in sources if path(source) not in finished]
        bad = [Kind.REJECTED] if output.segments is None else [Kind.REJECTED, CLASSIFIED_BUT]
        n_bad = sum(finished.get(path(source)) in bad for source in sources)
        if len(left) < len(sources):
            is_late = output.segments is not None and not output.segments.exists()
            beside = f": {output.segments} lacks their detections" if is_late else ""
            notice(
                f"{len(sources) - len(left)} of {len(sources)} files are finished already and stay as they are{beside}"
            )
        # Sound that is still coming ends with a signal as with its end: what was found until then is written.
        is_live = any(source.is_stdin for source in left)
        try:
            with signals_held() if is_live else nullcontext():
                # Loading a model for nothing takes seconds.
                n_bad += _write(predict(left) if left else (), sinks, len(left))
        except Interrupted as interrupt:
            if output.out is not None:
                interrupt.kept = _kept(output.out, output.format)
            raise
    for sink in sinks:
        if left and sink.summary:
            notice(sink.summary)
    if left and output.segments is not None and output.format != "json":
        then = command_line("featurize", output.segments)
        notice(f"next: delete the wrong ones and train on the others, {then}")
    if n_bad:
        raise UnusableFiles(f"{n_bad} of {len(sources)} files could not be used")


def _labels(run: Run, sources: Sequence[Source], output: Output) -> tuple[Sink, dict[str, str]]:
    """Return the sink of labels, and the recordings that are finished: those whose files exist."""
    files = label_files(sources, output.format, output.out, output.single)
    there = [one for one in sources if (file := files[one.path]) is not None and file.exists()]
    if there and not output.resume:
        file = files[min(one.path for one in there)]
        raise UserError(f"{file} exists already; go on with --resume, give another --out, or delete it")
    return Labels(run, output.format, files), {path(one): "" for one in there}


def _rows(run: Run, output: Output, stack: ExitStack) -> tuple[Sink, dict[str, str]]:
    """Return the sink of rows, and what the last row of each recording that is finished says of it."""
    if output.format == "text" and output.resume:
        raise UserError("text cannot be continued; use --format csv or --format json with --resume")
    out: Out = to_stdout
    finished: dict[str, str] = {}
    if output.out is not None:
        file, finished = stack.enter_context(rows_file(run, output.out, output.format, output.resume))
        out = to_file(file)
    elif output.format == "csv":
        to_stdout(csv_header(run))
    if output.format == "text" and not output.every_window:
        return Regions(run, out), finished
    return Rows(run, out, _LINES[output.format]), finished


def _write(found: Iterable[Found], sinks: Sequence[Sink], n_sources: int) -> int:
    """Write what is found, show the progress, name the files that are bad, and return how many there are."""
    n_done = n_bad = 0
    detections = Detections()
    bar_format = "{percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
    with progress_bar(n_sources, dynamic_ncols=True, bar_format=bar_format) as bar:
        for one in found:
            is_bad = one.kind is Kind.REJECTED
            if is_bad:
                _tell(complain, one, one.reason)
            elif one.note:
                _tell(notice, one, one.note)
            complete = detections.take(one)
            for sink in sinks:
                if (reason := sink.write(one, complete)) and isinstance(one, Recording):
                    _tell(complain, one, reason)
                    is_bad = True
                    one = replace(one, note="; ".join(filter(None, (one.note, reason))))  # for the next sink
            n_bad += is_bad
            n_done += one.kind is not Kind.WINDOW
            if bar.disable:
                continue
            within, where = 0.0, ""
            if isinstance(one, Window):
                within = min(1.0, one.end / one.duration) if one.duration else 0.0
                where = f" {clock(one.end)}"
            bar.set_postfix_str(f"{n_done} of {n_sources} files, {printable(one.path.name)}{where}", False)
            bar.update(max(0.0, n_done + within - bar.n))
    return n_bad


def _tell(say: Callable[[str], None], one: Found, text: str) -> None:
    with tqdm.external_write_mode(file=sys.stderr):
        say(f"{one.path}: {text}")


def _kept(out: Path, format: str) -> str:
    if format == "text":
        return f"the results so far are in {out}"
    return f"the finished recordings are in {out}; give the same command with --resume to go on"

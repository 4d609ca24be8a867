"""The commands about a run, a model or a cache: report, evaluate, suspects, review, summary and preview."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.shared.cli import command_line, complain, notice, silence_libraries, summarise
from cache.shared.options import options_in, typer_option
from cache.shared.text import human_count, printable
from train.commands import options
from train.fitting.options import Options

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cache.labels.table import ColumnNames
    from train.review.server import Server


def _column(what: str) -> Any:
    """Return the option that names a column of tables of labels."""
    return typer.Option(metavar="NAME", help=f"The column of their tables that {what}.", show_default="the likeliest")


def report(
    run: options.AnyRun,
    cache: options.CacheNow = None,
    data: options.DataNow = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a run's report.html and its figures again.

    `fit` and `crossval` end with this. The page shows spectrograms and plays clips if the cache and the clips can be
    found.

    Example: python -m train report runs/first
    """
    from train.report.report import write_report

    summarise(printable(str(write_report(run, cache, data))))


def evaluate(
    run: options.FitRun,
    cache: Annotated[
        Path | None, typer.Argument(help="Score on this cache.", show_default="the one the run was trained on")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Score on the labelled recordings in here instead.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Their labels: a table, or a folder of tables; may be repeated."),
    ] = None,
    file_column: Annotated[str | None, _column("names the recording")] = None,
    start_column: Annotated[str | None, _column("holds the start, in seconds")] = None,
    end_column: Annotated[str | None, _column("holds the end, in seconds")] = None,
    label_column: Annotated[str | None, _column("holds the label")] = None,
    keep_thresholds: Annotated[
        bool,
        typer.Option(
            "--keep-thresholds", help="Keep the thresholds that are best on them for `predict --threshold auto`."
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Score a run again, on its test clips, another cache, or recordings.

    A cache that still holds all of the run's test clips is scored on those; any other on all of its clips, if its
    feature settings and classes are the run's.

    Recordings are classified as `predict` does, and held against label tracks of Audacity, selection tables of Raven,
    or a CSV with file,start,end,label: over windows, and over events. A detection is right if labels cover half of it,
    and an event is found if right detections cover half of it. RUN gets a page, recordings.html, with the worst errors
    to see and to hear.

    Example: python -m train evaluate runs/first

    Example: python -m train evaluate runs/first other/features.h5

    Example: python -m train evaluate runs/1 --recordings nights --labels nights
    """
    is_half = (recordings is None) != (not labels)
    options.refuse({"--recordings and --labels": is_half}, "recordings and their labels go together")
    from cache.labels.table import ColumnNames

    columns = ColumnNames(file_column, start_column, end_column, label_column)
    if recordings is None:
        named = {f"--{role}-column": name for role, name in columns._asdict().items()}
        options.refuse({**named, "--keep-thresholds": keep_thresholds}, "it needs --recordings and --labels")
    if recordings is not None and labels:
        options.refuse({"--recordings": cache}, "give either a cache or recordings")
        _evaluate_recordings(run, recordings, [*map(Path, labels)], columns, keep_thresholds, as_json)
        return
    from train.commands import screen
    from train.score import evaluate as evaluation

    result = evaluation.evaluate(run, cache)
    if result.n_seen:
        complain(
            f"warning: the run was trained on {result.n_seen} of these {result.score.n} clips, so the score flatters it"
        )
    if as_json:
        print(json.dumps(result.as_json()))
    else:
        print(screen.evaluate_summary(result))
        summarise(printable(f"next: {command_line('train', 'predict', run, 'FILE')}"))


def _evaluate_recordings(
    run: Path, recordings: Path, labels: list[Path], columns: "ColumnNames", keep_thresholds: bool, as_json: bool
) -> None:
    from train.commands import screen
    from train.recordings.evaluate import evaluate_recordings
    from train.recordings.page import write_page
    from train.report.report import report_finished

    silence_libraries()
    result = evaluate_recordings(run, recordings, labels, columns, keep_thresholds)
    page = write_page(run, result)
    if keep_thresholds:
        report_finished(run)
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        summarise(screen.recordings_summary(result))
        summarise(f"report: {printable(str(page))}")
        then = command_line("train", "predict", run, "RECORDINGS", "--threshold", "auto")
        summarise(
            f"next: {printable(then)}"
            if keep_thresholds
            else "next: listen to the errors in the report; --keep-thresholds keeps the best thresholds"
        )


def suspects(
    run: options.AnyRun,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table, as CSV.")] = Path("suspects.csv"),
    quiet: options.Quiet = False,
) -> None:
    """List the clips whose label may be wrong.

    They are among the clips that the run tested; a cross-validation tests all. Each has its path, its label, the class
    that it sounds like, and the probabilities of both, the widest margin first. The report plays them.

    Example: python -m train suspects runs/crossval --out suspects.csv
    """
    from train.report.mistakes import write_suspects

    n = write_suspects(run, out)
    summarise(printable(f"{human_count(n, 'suspect')}: {out}"))
    if n:
        summarise(printable(f"next: {command_line('train', 'review', run)}"))


def review(
    run: Annotated[
        Path,
        typer.Argument(help="A run directory; that of a `crossval` covers all clips, that of a `fit` its test clips."),
    ],
    recordings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECORDING",
            help="Review what a `fit` finds in these recordings, and folders of them, instead.",
        ),
    ] = None,
    cache: options.CacheNow = None,
    data: options.DataNow = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For recordings: the folder for decisions and labels.",
            show_default="`reviewed` in their folder",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For recordings: a table of `predict --format csv`; recordings that it lacks are added.",
            show_default="a hidden file in --out",
        ),
    ] = None,
    threshold: Annotated[list[str] | None, options.threshold("auto")] = None,
    only: Annotated[str | None, typer.Option(metavar="CLASS", help="Only clips or findings of this class.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page.", show_default="a free one")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    move: Annotated[
        bool, typer.Option("--move", help="Move the corrected clips into the folders of their classes, and end.")
    ] = False,
    undo_move: Annotated[bool, typer.Option("--undo-move", help="Move them back to where they were, and end.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Listen to doubtful clips, or to findings in recordings, and correct their labels in the browser.

    The clips come one at a time, the most doubtful label first, with their sound, spectrogram and probabilities; every
    decision is a key. Decisions are appended to corrections.csv beside the cache; clips and folders stay as they are.
    The page is served to this computer alone. Ctrl-C ends the review, and the same command goes on with it.

    With recordings, the page shows what `predict` finds in them, the least sure first, with some seconds before and
    after; its edges can be moved. Decisions are appended to findings.csv in --out, and become labels there, for
    Audacity and Raven, which `python -m featurize DATA --labels` takes. A rejected finding becomes background.

    Example: python -m train review runs/crossval

    Example: python -m train review runs/first nights

    Example: python -m train review runs/crossval --move
    """
    import webbrowser

    if recordings:
        of_clips = {"--cache": cache, "--data": data, "--move": move, "--undo-move": undo_move}
        options.refuse(of_clips, "it is for clips, so leave out the recordings")
    else:
        of_recordings = {"--out": out, "--predictions": predictions, "--threshold": threshold}
        options.refuse(of_recordings, "it is for recordings; give some")
    options.refuse({"--undo-move": move and undo_move}, "give either --move or --undo-move")
    if move or undo_move:
        of_page = {"--only": only, "--port": port, "--no-browser": no_browser}
        options.refuse(of_page, "it is for the page, and moving opens none")
        _move(run, cache, data, undo_move)
        return
    review: AbstractContextManager[Server]
    if recordings:
        from train.commands.predict import given_thresholds, thresholds_by_class
        from train.review.findings import opened_findings
        from train.runs.directory import open_run

        silence_libraries()
        opened, asked = open_run(run), given_thresholds(threshold or [], None)
        thresholds = thresholds_by_class(opened, *asked)
        review = opened_findings(opened, recordings, thresholds, out, predictions, only, port)
    else:
        from train.review.clips import opened_review

        review = opened_review(run, cache, data, only, port)
    with review as server:
        print(f"review: {server.address}", flush=True)
        if not no_browser:
            webbrowser.open(server.address)
        server.serve_forever()


def _move(run: Path, cache: Path | None, data: Path | None, undo: bool) -> None:
    """Move corrected clips, or move them back."""
    from train.review.clips import reviewed
    from train.review.move import move_clips, undo_moves

    clips, data = reviewed(run, cache, data)
    if undo:
        n = undo_moves(clips, data, notice)
        summarise(f"{human_count(n, 'clip')} moved back")
    else:
        n, file = move_clips(clips, data, notice)
        summarise(printable(f"{human_count(n, 'clip')} moved" + (f"; {file} has their old names" if n else "")))
        if n:
            summarise(printable(f"undo: {command_line('train', 'review', run, '--undo-move')}"))
    if n:
        summarise(printable(f"next: {command_line('featurize', data)}"))


def summary(model: Annotated[str, typer_option(options_in(Options)["model"])] = Options.model) -> None:
    """Show a model's layers and parameters, for three classes.

    Example: python -m train summary --model compact
    """
    from train.models.recipes import build_model, recipe

    recipe(model)
    build_model(model, n_classes=3).summary(line_length=80)


def preview(
    cache: options.CacheFile = options.CACHE,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture: png, svg or pdf.")] = Path("sheet.png"),
    model: Annotated[str, typer.Option(help="Model whose augmentation to show.")] = "compact",
    seed: Annotated[int, typer.Option(min=0, help="Chooses the clips and how they are varied.")] = 0,
    quiet: options.Quiet = False,
) -> None:
    """Draw clips as the cache holds them and as training varies them.

    Example: python -m train preview data/features.h5 --out sheet.png
    """
    from train.report.preview import draw_preview

    n_clips = draw_preview(cache, out, model, seed)
    summarise(printable(f"{human_count(n_clips, 'clip')} of {cache}, before and after: {out}"))

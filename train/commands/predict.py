"""The commands that use a run on other clips: predict and export."""

import json
from collections.abc import Iterable, Sequence
from math import nan
from pathlib import Path
from typing import Annotated

import typer

from cache.shared.cli import notice, summarise
from cache.shared.errors import UserError
from cache.shared.process import silence_libraries
from train.commands import options
from train.exporters.formats import ExportFormat, ExportInput, endings, format_named, format_names
from train.predict.formats import PredictFormat


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Audio files, folders of them, or - for a WAV on standard input."),
    ],
    window: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="SECONDS", help="Length of a window.", show_default="the training clips' median"
        ),
    ] = None,
    overlap: Annotated[float, typer.Option(min=0, max=0.95, help="Share of a window that the next one repeats.")] = 0.5,
    threshold: Annotated[
        str, typer.Option(metavar="P|auto", help="Leave without a class what is less probable; auto: the run's own.")
    ] = "0",
    format: Annotated[PredictFormat, typer.Option(help="What to write.")] = PredictFormat["text"],
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json: one JSON object a line.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="No more needed: folders within a folder count.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, for labels of many files to this folder.")
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write what is found as FLAC files, into class folders in here."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the --out of an interrupted run.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Classify audio files with a run.

    One line a file: its name, its class, the probabilities of all classes. A recording longer than one and a half
    windows is classified window by window, and then comes a line for all of it; the last window ends where the
    recording ends. A silent window has no class.

    --threshold auto takes for each class the threshold of best F1 on the run's validation clips, or on the recordings
    of `evaluate --keep-thresholds`; the run's report shows them.

    A file that cannot be used is named on stderr, the others go on, and the exit code is 1.

    --format csv and json (a JSON object a line) have a row for each file and window; --resume drops the rows of the
    file that was interrupted and goes on with it. audacity (a label track) and raven (a selection table) are a file for
    each recording, in which windows of one class that follow each other are one region; with --resume, a recording
    whose file is there is finished. --segments writes the same regions, and with --resume those of the interrupted
    recording once more.

    Example: python -m train predict runs/first clip.wav folder

    Example: python -m train predict runs/first night.wav --threshold 0.8 --format audacity --out night.txt

    Example: python -m train predict runs/first recordings --format csv --out found.csv --resume

    Example: python -m train predict runs/first night.wav --threshold auto --segments found

    Example: sox in.mp3 -t wav - | python -m train predict runs/first -
    """
    from train.predict.deliver import deliver
    from train.predict.predict import Prediction, predict_files
    from train.predict.segments import with_segments
    from train.predict.sources import Source, find_sources
    from train.predict.windows import gap, thresholds_of, windows_of
    from train.runs.directory import open_run

    if as_json and format not in ("text", "json"):
        raise typer.BadParameter(
            f"it is the same as --format json, so leave out --format {format}", param_hint="--json"
        )
    try:
        least = None if threshold == "auto" else float(threshold)
    except ValueError:
        least = nan
    if least is not None and not 0 <= least <= 1:
        raise typer.BadParameter(f"{threshold} is neither from 0 to 1 nor auto", param_hint="--threshold")
    if resume and out is None:
        raise typer.BadParameter("it goes on with a file; name that with --out", param_hint="--resume")
    if segments is not None and "-" in paths:
        raise typer.BadParameter("standard input cannot be read twice; name a file", param_hint="--segments")
    if segments is not None and not resume and segments.exists() and (segments.is_file() or any(segments.iterdir())):
        raise UserError(f"{segments} exists already; give another --segments, or delete it first")
    silence_libraries()
    bundle = open_run(run)
    windows = windows_of(bundle, window, overlap)
    thresholds = thresholds_of(bundle) if least is None else least
    if missed := gap(windows, bundle.settings):
        notice(f"warning: {missed}")

    def classify(sources: Sequence[Source]) -> Iterable[Prediction]:
        found = predict_files(bundle, sources, windows, thresholds)
        return found if segments is None else with_segments(found, sources, segments, resume)

    deliver(
        bundle,
        find_sources(paths),
        classify,
        "json" if as_json else format.value,
        out,
        resume,
        single=len(paths) == 1 and not Path(paths[0]).is_dir(),
    )


def export(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    out: Annotated[Path, typer.Argument(help="The file to make; of a SavedModel, the directory.")],
    format: Annotated[
        ExportFormat | None,
        typer.Option(help=f"{format_names()}.", show_default=f"by the ending {endings()}"),
    ] = None,
    input: Annotated[
        ExportInput, typer.Option(help="What it takes: the sound itself, or rows of a cache.")
    ] = ExportInput.waveform,
    cache: Annotated[
        Path | None,
        typer.Option(help="Check it on the clips of this cache.", show_default="the one the run was trained on"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where those clips are now.", show_default="where the cache says")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a run's model as a file that runs without this project.

    It takes mono sound at the features' sample rate, of any length, and gives the probabilities of the classes. What
    was written is run on some clips, and kept only if it says the same as featurize and the model.

    Example: python -m train export runs/first dog-cat-bird.onnx
    """
    from train.commands import screen
    from train.exporters.export import export as exports

    try:
        format = format_named(format, out)
    except UserError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    silence_libraries()
    result = exports(run, out, format, input, cache, data)
    print(json.dumps(result)) if as_json else summarise(screen.export_summary(result))

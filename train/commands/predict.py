"""The commands that use a run on other clips: predict and export."""

import json
from dataclasses import asdict
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.shared.cli import notice, silence_libraries, summarise
from cache.shared.errors import UserError
from train.commands import options
from train.exporters.formats import FORMATS, ExportFormat, ExportInput, endings, format_named
from train.predict.recordings import LABELS, PredictFormat

if TYPE_CHECKING:
    from train.runs.directory import Run

_LABELS = ", ".join(f"{name} ({kind.KIND})" for name, kind in LABELS.items())
_bad = partial(typer.BadParameter, param_hint="--threshold")


def predict(
    run: options.FitRun,
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
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.95, help="Share of a window that the next one repeats.", show_default="0.5"),
    ] = None,
    threshold: Annotated[list[str] | None, options.threshold("0")] = None,
    format: Annotated[PredictFormat, typer.Option(help=f"Format of the output; of labels: {_LABELS}.")] = PredictFormat[
        "text"
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json: one JSON object a line.")] = False,
    every_window: Annotated[
        bool, typer.Option("--windows", help="Print a line for every window of a long recording.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="No longer needed: subfolders are always searched.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, for labels of many files to this folder.")
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the detections as FLAC files, into class folders in here."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the --out of an interrupted run.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Classify audio files with a run.

    A clip gets one line: its name, its class, the probabilities of all classes. A recording longer than one and a half
    windows is classified window by window. It gets a line for each detection, which joins neighbouring windows of one
    class, and then a line for the whole recording. --windows prints every window instead. A silent window has no class.

    --threshold auto takes for each class the threshold of best F1 on the run's validation clips, or on the recordings
    of `evaluate --keep-thresholds`; the run's report shows them. CLASS=P sets the threshold of one class.

    A run on a cache of --crop segments or loudest cuts a file as featurize did, and its answer for the file is the mean
    over these windows, as it is in the run's score. With --window or --overlap, and from standard input, windows cover
    the whole recording.

    A file that cannot be used is named on stderr, the others go on, and the exit code is 1.

    --format csv and json (one JSON object per line) have a row for each file and window; --resume drops the rows of the
    file that was interrupted and goes on with it. Labels are one file per recording with its detections; with --resume,
    a recording whose file exists is finished. --segments writes the same detections as files of sound, and with
    --resume those of the interrupted recording once more.

    Example: python -m train predict runs/first clip.wav folder

    Example: python -m train predict runs/first night.wav --format audacity

    Example: python -m train predict runs/1 nights --format csv --out found.csv

    Example: python -m train predict runs/1 night.wav --segments found

    Example: python -m train predict runs/1 night.wav --threshold dog=0.9

    Example: sox in.mp3 -t wav - | python -m train predict runs/first -
    """
    is_other = as_json and format not in ("text", "json")
    options.refuse({"--json": is_other}, f"it is the same as --format json, so leave out --format {format}")
    given = given_thresholds(threshold or [])
    format = PredictFormat["json"] if as_json else format
    options.refuse({"--windows": every_window and format != "text"}, f"it is for text; leave out --format {format}")
    options.refuse({"--resume": resume and out is None}, "it continues a file; name that file with --out")
    is_twice = segments is not None and "-" in paths
    options.refuse({"--segments": is_twice}, "standard input cannot be read twice; name a file")
    if segments is not None and not resume and segments.exists() and (segments.is_file() or any(segments.iterdir())):
        raise UserError(f"{segments} exists already; give another --segments, or delete it first")
    silence_libraries()
    from train.predict.deliver import Output, deliver
    from train.predict.predict import predict as find
    from train.predict.recordings import find_sources
    from train.predict.windows import gap, settings_of, windows_as_scored, windows_of
    from train.runs.directory import open_run

    opened = open_run(run)
    as_scored = window is None and overlap is None
    windows = windows_as_scored(opened) if as_scored else windows_of(opened, window, overlap)
    thresholds = thresholds_by_class(opened, *given)
    if missed := gap(windows, settings_of(opened)):
        notice(f"warning: {missed}")
    deliver(
        opened,
        find_sources(paths),
        partial(find, opened, windows=windows, threshold=thresholds),
        Output(
            format=format.value,
            out=out,
            resume=resume,
            single=len(paths) == 1 and not Path(paths[0]).is_dir(),
            segments=segments,
            every_window=every_window,
        ),
    )


def thresholds_by_class(run: "Run", base: float | None, of_class: dict[str, float]) -> dict[str, float]:
    """Return the threshold of each class of a run, by what given_thresholds() returns."""
    from train.predict.windows import thresholds_of

    if unknown := of_class.keys() - set(run.class_names):
        raise _bad(f"{run.folder} has no class {min(unknown)}; its classes are {', '.join(run.class_names)}")
    thresholds = thresholds_of(run, except_for=of_class) if base is None else dict.fromkeys(run.class_names, base)
    return thresholds | of_class


def given_thresholds(given: list[str], base: float | None = 0.0) -> tuple[float | None, dict[str, float]]:
    """Return the threshold of all classes, None for auto and `base` if it is not given, and those of single classes."""
    of_class: dict[str, float] = {}
    for n, text in enumerate(given):
        name, equals, number = text.rpartition("=")
        try:
            p = None if text == "auto" else float(number)
        except ValueError:
            p = nan
        if p is not None and not 0 <= p <= 1:
            raise _bad(f"{text} is neither a number from 0 to 1, nor auto, nor CLASS=P")
        if equals and p is not None:
            if name in of_class:
                raise _bad(f"it is given twice for {name}; give it once")
            of_class[name] = p
        elif any("=" not in other for other in given[:n]):
            raise _bad("it is given twice for all classes; give it once")
        else:
            base = p
    return base, of_class


def export(
    run: options.FitRun,
    out: Annotated[Path, typer.Argument(help="The file to make, or for a SavedModel the directory.")],
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            help=f"{', '.join(one.name for one in FORMATS.values())}.", show_default=f"by the ending {endings()}"
        ),
    ] = None,
    input: Annotated[
        ExportInput, typer.Option(help="Input of the file: sound, or rows of a cache.")
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

    The file takes mono sound at the features' sample rate, of any length, and gives the probabilities of the classes.
    It is run on some clips, and kept only if it computes the same as featurize and the model.

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
    if as_json:
        print(json.dumps(asdict(result)))
    else:
        summarise(screen.export_summary(result))
        summarise("next: run it without this project, as .docs/model.md shows")

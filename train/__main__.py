"""python -m train: train on a cache, score, and classify clips."""

from cache.shared.command import complain, leave_on_signals, notice, run, summarise
from cache.shared.text import human_count, printable

if __name__ == "__main__":
    leave_on_signals("python -m train")

import json
from pathlib import Path
from typing import Annotated

import typer

from cache.shared.chatter import silence_libraries
from train.commands import many, options
from train.export.formats import ExportFormat, ExportInput, format_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train a CNN on a cache of mel spectrograms, see what it is worth, and classify clips with it.

    The cache comes from `python -m featurize`. A first round:

    python -m train fit data/features.h5 --run runs/first

    python -m train predict runs/first clip.wav
    """


@app.command()
def fit(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    run: Annotated[
        Path | None, typer.Option(help="Directory to make for this run.", show_default="runs/<date-time>-<model>")
    ] = None,
    model: options.Model = "baseline",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    val: options.Val = 0.15,
    test: options.Test = 0.15,
    group_by: options.GroupBy = None,
    class_weight: options.Weight = None,
    patience: options.Patience = None,
    deterministic: options.Deterministic = False,
    tensorboard: options.TensorBoard = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted fit; takes no other option.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a model on a cache and score it on clips it never saw.

    The run directory holds the model, and report.html to look at and to listen to.

    Example: python -m train fit data/features.h5 --epochs 30 --seed 1

    Example: python -m train fit --resume runs/20261122-201500-baseline
    """
    from train.commands import screen
    from train.fit import fit as fits
    from train.runs.record import flat

    if resume is not None:
        given = options.given(context)
        beside = sorted(given - {"cache", "resume", "quiet", "as_json"})
        if beside:
            option = "--" + beside[0].replace("_", "-")
            raise typer.BadParameter(f"the fit goes on with its own options; leave out {option}", param_hint="--resume")
        folder, record = fits.resume_fit(resume, cache if "cache" in given else None)
    else:
        folder, record = fits.fit(cache, run, options.chosen(context), tensorboard)
    for line in record.warnings:
        notice(f"warning: {line}")
    print(json.dumps(flat(folder, record))) if as_json else summarise(screen.fit_summary(folder, record))
    _end_with_report(folder, as_json)


@app.command()
def crossval(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory to make for this run.", show_default="runs/<date-time>-crossval-<model>"),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the clips, each tested once.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Times all of that, with new folds each time.")] = 1,
    model: options.Model = "baseline",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    val: options.ValOfModel = None,
    group_by: options.GroupBy = None,
    class_weight: options.Weight = None,
    patience: options.Patience = None,
    deterministic: options.Deterministic = False,
    scheduler: options.Scheduler = None,
    dashboard: options.Dashboard = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train and test on every clip in turn.

    The clips are divided into folds; each is tested by a network trained on the others. Slower than `fit`, and far
    surer of the score. The run directory holds report.html to look at and to listen to, and no model.

    Example: python -m train crossval data/features.h5 --folds 5 --repeats 3
    """
    from train.commands import screen
    from train.fit import crossval as validation
    from train.runs.record import flat

    with many.where(scheduler, dashboard, cache) as run_all:
        folder, record = validation.crossval(cache, run, options.chosen(context), folds, repeats, run_all)
    for line in record.warnings:
        notice(f"warning: {line}")
    print(json.dumps(flat(folder, record))) if as_json else summarise(screen.crossval_summary(folder, record))
    _end_with_report(folder, as_json)


app.command()(many.sweep)
app.command(cls=options.Once)(many.compare)


def _end_with_report(folder: Path, as_json: bool) -> None:
    from train.report.report import report_finished

    page = report_finished(folder)
    if page and not as_json:
        summarise(f"report: {printable(str(page))}")


@app.command(cls=options.Once)
def report(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` or `crossval` made.")],
    cache: Annotated[
        Path | None, typer.Option(help="Where its cache is now.", show_default="where it was in training")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the clips are now.", show_default="where the cache says")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a run's report.html and its figures anew.

    `fit` and `crossval` end with this. Spectrograms and players are in the page when the cache and the clips are where
    they were.

    Example: python -m train report runs/first
    """
    from train.report.report import write_report

    summarise(printable(str(write_report(run, cache, data))))


@app.command(cls=options.Once)
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    cache: Annotated[
        Path | None, typer.Argument(help="Score on this cache.", show_default="the one the run was trained on")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Score a run again, on its test clips or another cache.

    A cache that still holds all of the run's test clips is scored on those; any other on all of its clips, if its
    feature settings and classes are the run's.

    Example: python -m train evaluate runs/first

    Example: python -m train evaluate runs/first other/features.h5
    """
    from train.commands import screen
    from train.score import evaluate as evaluation

    result = evaluation.evaluate(run, cache)
    if result["n_seen"]:
        complain(
            f"warning: the run was trained on {result['n_seen']} of these {result['n']} clips, so the score flatters it"
        )
    print(json.dumps(result) if as_json else screen.evaluate_summary(result))


@app.command(cls=options.Once)
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
        float, typer.Option(min=0, max=1, metavar="P", help="Leave without a class what is less probable than this.")
    ] = 0.0,
    format: Annotated[options.PredictFormat, typer.Option(help="What to write.")] = options.PredictFormat.text,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json: one JSON object a line.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="No more needed: folders within a folder count.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, for labels of many files to this folder.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the --out of an interrupted run.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Classify audio files with a run.

    One line a file: its name, its class, the probabilities of all classes. A recording longer than one and a half
    windows is classified window by window, and then comes a line for all of it; the last window ends where the
    recording ends. A silent window has no class.

    A file that cannot be used is named on stderr, the others go on, and the exit code is 1.

    --format csv and json (a JSON object a line) have a row for each file and window; --resume drops the rows of the
    file that was interrupted and goes on with it. audacity (a label track) and raven (a selection table) are a file for
    each recording, in which windows of one class that follow each other are one region; with --resume, a recording
    whose file is there is finished.

    Example: python -m train predict runs/first clip.wav folder

    Example: python -m train predict runs/first night.wav --threshold 0.8 --format audacity --out night.txt

    Example: python -m train predict runs/first recordings --format csv --out found.csv --resume

    Example: sox in.mp3 -t wav - | python -m train predict runs/first -
    """
    from train.predict.deliver import deliver
    from train.predict.predict import predict_files
    from train.predict.sources import find_sources
    from train.predict.windows import gap, windows_of
    from train.runs.directory import open_run

    if as_json and format not in (options.PredictFormat.text, options.PredictFormat.json):
        raise typer.BadParameter(
            f"it is the same as --format json, so leave out --format {format}", param_hint="--json"
        )
    if resume and out is None:
        raise typer.BadParameter("it goes on with a file; name that with --out", param_hint="--resume")
    silence_libraries()
    bundle = open_run(run)
    windows = windows_of(bundle, window, overlap)
    if missed := gap(windows, bundle.settings):
        notice(f"warning: {missed}")
    deliver(
        bundle,
        find_sources(paths),
        lambda sources: predict_files(bundle, sources, windows, threshold),
        "json" if as_json else format.value,
        out,
        resume,
        single=len(paths) == 1 and not Path(paths[0]).is_dir(),
    )


@app.command(cls=options.Once)
def export(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    out: Annotated[Path, typer.Argument(help="The file to make; of a SavedModel, the directory.")],
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            help="ONNX, LiteRT (TensorFlow Lite), TensorFlow's own.", show_default="by the ending .onnx or .tflite"
        ),
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
    from train.export.export import export as exports

    format = format or format_of(out)
    if format is None:
        formats = ", ".join(ExportFormat)
        raise typer.BadParameter(
            f"{out.name} does not end in .onnx or .tflite, so say the format: {formats}", param_hint="--format"
        )
    silence_libraries()
    result = exports(run, out, format, input, cache, data)
    print(json.dumps(result)) if as_json else summarise(screen.export_summary(result))


@app.command(cls=options.Once)
def summary(
    model: options.Model = "baseline",
) -> None:
    """Show a model's layers and parameters, for three classes.

    Example: python -m train summary --model compact
    """
    from train.models.recipes import build_model, recipe

    recipe(model)
    build_model(model, n_classes=3).summary(line_length=80)


@app.command(cls=options.Once)
def preview(
    cache: options.CacheFile = options.CACHE,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture: png, svg or pdf.")] = Path("sheet.png"),
    model: Annotated[str, typer.Option(help="Whose augmentation to show.")] = "compact",
    seed: Annotated[int, typer.Option(min=0, help="Chooses the clips and how they are varied.")] = 0,
    quiet: options.Quiet = False,
) -> None:
    """Draw clips as the cache holds them and as training varies them.

    Example: python -m train preview data/features.h5 --out sheet.png
    """
    from train.report.preview import draw_sheet

    n_clips = draw_sheet(cache, out, model, seed)
    summarise(printable(f"{human_count(n_clips, 'clip')} of {cache}, before and after: {out}"))


if __name__ == "__main__":
    run(app, "python -m train")

"""python -m train: train on a cache, score, and classify clips."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cache.terminal import UserError, complain, run

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

CACHE = Path("data/features.h5")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
Model = Annotated[str, typer.Option(help="Which model; `python -m train summary` shows its layers.")]


class ClassWeight(StrEnum):
    """How clips are weighted in the loss."""

    balanced = "balanced"


@app.callback()
def train() -> None:
    """Train a CNN on a cache of mel spectrograms, see what it is worth, and classify clips with it.

    The cache comes from `python -m featurize`.
    """


@app.command()
def fit(
    context: typer.Context,
    cache: Annotated[Path, typer.Argument(help="What `python -m featurize` wrote.")] = CACHE,
    run: Annotated[
        Path | None, typer.Option(help="Directory to make for this run.", show_default="runs/<date-time>-<model>")
    ] = None,
    model: Model = "baseline",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times through the clips.", show_default="the model's: 15 for baseline")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips an optimiser step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Of the optimiser.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the split, the order of clips, the first weights.")] = 0,
    val: Annotated[float, typer.Option(min=0, max=0.9, help="Share of clips that choose the epoch to keep.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of clips for the final score.")] = 0.15,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="What its one (group) captures in a path stays on one side of the split.",
            show_default="speaker or recording where the file names tell it",
        ),
    ] = None,
    class_weight: Annotated[
        ClassWeight | None, typer.Option(help="`balanced`: a rare class counts as much as a frequent one.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N epochs without a better one.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same weights to the bit from the same seed; slower.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted fit; takes no other option.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a cache and score it on clips it never saw.

    Example: python -m train fit data/features.h5 --epochs 30 --seed 1
    """
    from train import fit as fits
    from train import screen
    from train.models import recipe
    from train.record import flat

    if resume is not None:
        given = _given(context)
        beside = sorted(given - {"cache", "resume", "as_json"})
        if beside:
            option = "--" + beside[0].replace("_", "-")
            raise typer.BadParameter(f"the fit goes on with its own options; leave out {option}", param_hint="--resume")
        folder, record = fits.resume_fit(resume, cache if "cache" in given else None)
    else:
        options = fits.Options(
            model=model,
            epochs=epochs or recipe(model).epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            val=val,
            test=test,
            group_by=group_by,
            class_weight=class_weight and class_weight.value,
            patience=patience,
            deterministic=deterministic,
        )
        folder, record = fits.fit(cache, run, options)
    for line in record["warnings"]:
        complain(f"warning: {line}")
    print(json.dumps(flat(folder, record)) if as_json else screen.fit_summary(folder, record))


def _given(context: typer.Context) -> set[str]:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    cache: Annotated[
        Path | None, typer.Argument(help="Score on this cache.", show_default="the one the run was trained on")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a run again, on its test clips or another cache.

    A cache that still holds all of the run's test clips is scored on those; any other on all of its clips, if its
    feature settings and classes are the run's.

    Example: python -m train evaluate runs/first other/features.h5
    """
    from train import evaluate as evaluation
    from train import screen

    result = evaluation.evaluate(run, cache)
    if result["n_seen"]:
        complain(
            f"warning: the run was trained on {result['n_seen']} of these {result['n']} clips, so the score flatters it"
        )
    print(json.dumps(result) if as_json else screen.evaluate_summary(result))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run directory that `fit` made.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Audio files, or folders of them.")],
    as_json: AsJson = False,
) -> None:
    """Classify audio files with a run.

    One line a file: its name, its class, the probabilities of all classes.

    A file that cannot be used is named on stderr, the others go on, and the exit code is 1.

    Example: python -m train predict runs/first clip.wav folder
    """
    from train import screen
    from train.predict import predict_files, predictions_as_json
    from train.runs import open_run

    bundle = open_run(run)
    done = []
    for prediction in predict_files(bundle, paths):
        done.append(prediction)
        if not prediction.probabilities:
            complain(f"{prediction.path}: {prediction.reason}")
        elif not as_json:
            print(screen.prediction_line(prediction), flush=True)
    if as_json:
        print(json.dumps(predictions_as_json(bundle, done)))
    if n_bad := sum(not prediction.probabilities for prediction in done):
        raise UserError(f"{n_bad} of {len(done)} files could not be used")


@app.command()
def summary(
    model: Model = "baseline",
) -> None:
    """Show a model's layers and parameters, for three classes."""
    from train.models import build_model, recipe

    recipe(model)
    build_model(model, n_classes=3).summary(line_length=80)


if __name__ == "__main__":
    run(app, "python -m train")

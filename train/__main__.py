"""python -m train: train on a cache, score, and classify clips."""

import sys

try:
    from cache.shared.cli import called, leave_on_signals, run
except ModuleNotFoundError:
    import cache

    sys.exit(f"python -m train: another cache is in the way, {cache.__file__}; rename it, or run this elsewhere")

if __name__ == "__main__":
    leave_on_signals(called("train"))

from collections.abc import Callable

import typer

from cache.shared.options import once, several
from train.commands import fit, many, predict, runs

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback(cls=several())
def train() -> None:
    """Train a CNN on a cache of mel spectrograms, see what it is worth, and classify clips with it.

    The cache comes from `python -m featurize`. A first round:

    python -m train fit data/features.h5 --run runs/first

    python -m train predict runs/first clip.wav
    """


_COMMANDS: tuple[Callable[..., None], ...] = (
    fit.fit,
    fit.crossval,
    many.sweep,
    many.compare,
    runs.report,
    runs.evaluate,
    runs.suspects,
    runs.review,
    predict.predict,
    predict.export,
    runs.summary,
    runs.preview,
)
for command in _COMMANDS:
    app.command(cls=once())(command)


if __name__ == "__main__":
    run(app, called("train"))

"""python -m cache: show what is in a cache, and verify it."""

from cache.shared.cli import be_quiet, called, leave_on_signals, once, run, summarise
from cache.shared.text import human_count, printable

if __name__ == "__main__":
    leave_on_signals(called("cache"))

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The HDF5 file that featurize wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show only errors and the results that were asked for.", callback=be_quiet)
]


@app.callback()
def commands() -> None:
    """Show what is in a cache of mel spectrograms, and verify it.

    Example: python -m cache info data/features.h5
    """


@app.command(cls=once())
def info(file: File = Path("data/features.h5"), as_json: AsJson = False) -> None:
    """Show what is in a cache, and whether the clips have changed since.

    Example: python -m cache info data/features.h5
    """
    from cache import open_cache
    from cache.look import info as contents
    from cache.shared.text import terminal_width

    cache = open_cache(file)
    print(json.dumps(contents.as_json(cache)) if as_json else contents.as_text(cache, terminal_width()))


@app.command(cls=once())
def verify(file: File = Path("data/features.h5"), quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Check every row against its checksum and the range [0, 1].

    Example: python -m cache verify f.h5 --quiet && cp f.h5 /backup
    """
    from cache.file.reader import open_cache
    from cache.look.info import check_rows

    n_rows = check_rows(open_cache(file))
    if as_json:
        print(json.dumps({"cache": str(file), "n_rows": n_rows}))
    else:
        summarise(printable(f"{file}: all {n_rows} rows are whole"))


@app.command(cls=once())
def plot(
    file: File = Path("data/features.h5"),
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture: png, svg or pdf.")] = Path("sheet.png"),
    seed: Annotated[int, typer.Option(min=0, help="Which clips are chosen.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Draw clips of every class, and all durations and sample rates.

    Example: python -m cache plot data/features.h5 --out sheet.png
    """
    from cache import open_cache
    from cache.look.plot import draw_sheet

    cache = open_cache(file)
    n_clips, n_classes = draw_sheet(cache, out, seed)
    more = f", of {len(cache.class_names)} classes the first {n_classes}" if n_classes < len(cache.class_names) else ""
    summarise(printable(f"{human_count(n_clips, 'clip')} of {file}{more}: {out}"))


if __name__ == "__main__":
    run(app, called("cache"))

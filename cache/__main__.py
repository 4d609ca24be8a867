"""python -m cache: show what is in a cache, verify it, and make caches of others."""

from cache.shared.cli import be_quiet, called, leave_on_signals, notice, run, summarise
from cache.shared.text import human_count, printable

if __name__ == "__main__":
    leave_on_signals(called("cache"))

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.shared.options import once, several

if TYPE_CHECKING:
    from cache import Cache

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The HDF5 file that featurize wrote.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="The cache to make.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show only errors and the results that were asked for.", callback=be_quiet)
]


@app.callback(cls=several())
def commands() -> None:
    """Show what is in a cache of mel spectrograms, verify it, and make a cache of others.

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


@app.command(cls=once())
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Caches with the same settings, two or more.")],
    out: Out,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder that holds the clips of all caches, or is to hold them.",
            show_default="that of the caches, if it is the same",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make one cache of several, without reading a clip.

    It is what featurize makes of the same clips, to the bit. A clip that several caches have counts once. Caches that
    do not fit together are refused, with every reason.

    Example: python -m cache merge may.h5 june.h5 --out summer.h5 --data nights
    """
    from cache import merge

    _tell(merge(files, out, data=data, notify=notice), as_json)


@app.command(cls=once())
def subset(
    file: File,
    out: Out,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Classes to take, in the order of their label index. Repeat the option for names that hold commas.",
            show_default="all, as they are",
        ),
    ] = None,
    max_per_class: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Take at most so many clips of each class, those that featurize takes; 0: all.",
            show_default="as the cache has it",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Take only clips in whose path, relative to DATA, this is found.", show_default="all"
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a cache of some of the clips of another one.

    It is what featurize makes of these clips, to the bit.

    Example: python -m cache subset f.h5 --out owls.h5 --classes owl,noise

    Example: python -m cache subset f.h5 --out site1.h5 --where /site1/
    """
    from cache import subset

    names = classes[0].split(",") if classes and len(classes) == 1 else classes or ()
    _tell(subset(file, out, classes=names, max_per_class=max_per_class, where=where, notify=notice), as_json)


def _tell(cache: "Cache", as_json: bool) -> None:
    """Print what is in a cache that was made."""
    from cache.shared.text import human_size

    if as_json:
        facts = {"cache": str(cache.file), "n_clips": cache.n_clips, "n_per_class": cache.n_clips_per_class}
        print(json.dumps({**facts, "fingerprint": cache.fingerprint}))
        return
    lines = [*(f"{name:12} {n:7} clip{'s' * (n != 1)}" for name, n in cache.n_clips_per_class.items())]
    size, n = human_size(cache.file.stat().st_size), human_count(cache.n_clips, "clip")
    n += f" in {len(cache)} rows" if len(cache) > cache.n_clips else ""
    summarise("\n".join(map(printable, [*lines, f"{cache.file}: {size}, {n}"])))


if __name__ == "__main__":
    run(app, called("cache"))

"""python -m featurize: bring the cache of mel spectrograms up to date with the clips."""

import os

from cache.shared.cli import be_quiet, called, leave_on_signals, notice, run, summarise
from cache.shared.process import silence_libraries
from cache.shared.text import printable

KEPT = "finished clips are kept; run the same command again to go on"
if __name__ == "__main__":
    leave_on_signals(called("featurize"), KEPT)

# A BLAS with threads of its own would only fight our worker processes. It reads this when numpy loads it.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cache.shared.once import Once

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Dtype(StrEnum):
    """Element types of X."""

    float32 = "float32"
    float16 = "float16"


@app.command(cls=Once)
def featurize(
    data: Annotated[
        Path, typer.Argument(help="Folder that holds a folder of clips per class, or recordings that have labels.")
    ] = Path("data"),
    cache: Annotated[Path | None, typer.Option(help="The HDF5 file.", show_default="DATA/features.h5")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Class folders, in the order of their label index; all: every folder. Given once a class, a name may"
            " hold commas.",
            show_default="the cache's, or dog,cat,bird, or all",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Labels of recordings in DATA: an Audacity label track, a Raven selection table, a CSV with"
            " file,start,end,label, or a folder of them. May be repeated, and adds to the cache's; none first: forget"
            " those.",
            show_default="the cache's",
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The column that holds the label.",
            show_default="Species, Annotation, Label or the last free one",
        ),
    ] = None,
    widen: Annotated[
        bool | None,
        typer.Option(
            "--widen/--no-widen",
            help="Widen labels that are shorter than the median to it, around their middle.",
            show_default="the cache's, or not",
        ),
    ] = None,
    background: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Take N segments without a label of each labelled recording as class background.",
            show_default="the cache's, or 0",
        ),
    ] = None,
    max_per_class: Annotated[
        int | None,
        typer.Option(
            min=0, help="Take only the first so many clips of each class, by name; 0: all.", show_default="the cache's"
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes.", show_default="all cores")] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Element type of X; float16 halves the file.", show_default="the cache's, or float32"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a clip that cannot be used.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Compare contents, not sizes and times.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another run writes this cache.")] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|FILE", help="Compute on a Dask cluster: tcp://host:8786, tls://.., or a scheduler file."
        ),
    ] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Say where the cluster's dashboard is.")] = False,
    check: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only compare N random rows with librosa's own.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show errors and what was asked for, and nothing else.", callback=be_quiet)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")] = False,
) -> None:
    """Turn every clip in DATA's class folders into a mel spectrogram, and keep them all in one HDF5 cache.

    Only new and changed clips are computed. A clip that cannot be used is named and left out. What a cache was asked
    for it remembers: classes, labels, --max-per-class and --dtype stay as they are until they are given again.

    Example: python -m featurize

    Example: python -m featurize recordings --classes frog,owl --cache features.h5

    Example: python -m featurize recordings --labels tables --background 20

    Example: python -m featurize --check 20
    """
    silence_libraries()
    if scheduler is not None and jobs:
        raise typer.BadParameter("a cluster has as many workers as it has; leave out --jobs", param_hint="--scheduler")
    if dashboard and scheduler is None:
        raise typer.BadParameter("only a cluster has one; name it with --scheduler", param_hint="--dashboard")
    file = cache or data / "features.h5"
    if check is not None:
        from featurize.features.check import compare

        print(compare(data, file, check))
        return
    from featurize.update import summary
    from featurize.update.update import build

    result = build(
        data,
        file,
        _class_names(classes or []),
        dtype.value if dtype else None,
        max_per_class,
        notice,
        labels or (),
        label_column,
        widen,
        background,
        n_jobs=jobs or os.cpu_count() or 1,
        strict=strict,
        rehash=rehash,
        wait=wait,
        scheduler=scheduler,
        dashboard=dashboard,
    )
    print(json.dumps(summary.as_json(result))) if as_json else summarise(summary.as_text(result))


def _class_names(classes: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes[0].split(",")) if len(classes) == 1 else tuple(classes)
    for name in names:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise typer.BadParameter(f"{printable(name)!r} is no folder name", param_hint="--classes")
    if len(set(names)) < len(names):
        raise typer.BadParameter("a class is named twice", param_hint="--classes")
    return names


if __name__ == "__main__":
    run(app, called("featurize"), KEPT)

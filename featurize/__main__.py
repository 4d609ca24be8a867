"""python -m featurize: bring the cache of mel spectrograms up to date with the clips."""

import os
import sys

try:
    from cache.shared.cli import be_quiet, called, leave_on_signals, notice, run, silence_libraries, summarise
except ModuleNotFoundError:
    import cache

    sys.exit(f"python -m featurize: another cache is in the way, {cache.__file__}; rename it, or run this elsewhere")

KEPT = "finished clips are kept; run the same command again to go on"
if __name__ == "__main__":
    leave_on_signals(called("featurize"), KEPT)

# A BLAS with threads of its own would only fight our worker processes. It reads this when numpy loads it.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.shared.options import in_command, once, takes_options
from featurize.update.options import Options, class_list

_OR = "as the cache has it, else {}"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Profile(StrEnum):
    """Settings by the kind of sound, as `featurize.features.profiles.PROFILES` has them."""

    speech = "speech"
    birds = "birds"
    bats = "bats"
    insects = "insects"
    whales = "whales"


@app.command(cls=once())
@takes_options(Options, annotate=in_command)
def featurize(
    context: typer.Context,
    data: Annotated[
        Path, typer.Argument(help="Folder that holds a folder of clips per class, or recordings that have labels.")
    ] = Path("data"),
    cache: Annotated[Path | None, typer.Option(help="The HDF5 file.", show_default="DATA/features.h5")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Class folders or labels, in the order of their label index; all: every folder and label; NAME=A+B:"
            " A and B as one class. Repeat the option for names that hold commas.",
            show_default="as the cache has them, else dog,cat,bird or all",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Labels of recordings in DATA: an Audacity label track, a Raven selection table, a CSV with"
            " file,start,end,label, or a folder of them. May be repeated. Tables are added to those the cache"
            " remembers; put none first to forget these.",
            show_default="as the cache has them",
        ),
    ] = None,
    *,
    profile: Annotated[
        Profile | None,
        typer.Option(
            help="Settings for a kind of sound; the options below change some.",
            show_default="as the cache has them, else speech",
        ),
    ] = None,
    sr: Annotated[
        int | None,
        typer.Option(metavar="HZ", help="Sample rate that clips are resampled to.", show_default=_OR.format(16000)),
    ] = None,
    n_fft: Annotated[
        int | None, typer.Option(metavar="SAMPLES", help="Length of a window.", show_default=_OR.format(1024))
    ] = None,
    hop_length: Annotated[
        int | None, typer.Option(metavar="SAMPLES", help="Step between two windows.", show_default=_OR.format(512))
    ] = None,
    fmin: Annotated[
        float | None, typer.Option(metavar="HZ", help="Lowest frequency.", show_default=_OR.format(0))
    ] = None,
    fmax: Annotated[
        float | None, typer.Option(metavar="HZ", help="Highest frequency.", show_default=_OR.format(8000))
    ] = None,
    top_db: Annotated[
        float | None,
        typer.Option(metavar="DB", help="Range below the loudest part of a clip.", show_default=_OR.format(80)),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes.", show_default="all cores")] = None,
    check: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only compare N random rows with librosa's own.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show only errors and what was asked for.", callback=be_quiet)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")] = False,
    **asked: Any,
) -> None:
    """Turn every clip in DATA's class folders into a mel spectrogram, and keep them all in one HDF5 cache.

    Only new and changed clips are computed. A clip that cannot be used is named and skipped. A cache remembers what it
    was asked for: classes, labels, --max-per-class, --crop, --dtype and the settings of the features stay as they are
    until they are given again.

    Example: python -m featurize

    Example: python -m featurize recordings --classes frog,owl --cache f.h5

    Example: python -m featurize recordings --labels tables --background 20

    Example: python -m featurize nights --profile bats --cache bats.h5

    Example: python -m featurize recordings --crop segments --overlap 0.5

    Example: python -m featurize --check 20
    """
    silence_libraries()
    if asked["scheduler"] is not None and jobs:
        raise typer.BadParameter("a cluster has its own workers; leave out --jobs", param_hint="--scheduler")
    if asked["dashboard"] and asked["scheduler"] is None:
        raise typer.BadParameter(
            "only a cluster has a dashboard; name the cluster with --scheduler", param_hint="--dashboard"
        )
    file = cache or data / "features.h5"
    if check is not None:
        from featurize.features.check import compare

        print(compare(data, file, check))
        return
    from cache.file.settings import SETTINGS
    from cache.shared.errors import UserError
    from featurize import build
    from featurize.features.profiles import asked_settings

    try:
        names = class_list(classes[0] if classes and len(classes) == 1 else classes or ())
    except UserError as error:
        raise typer.BadParameter(str(error), param_hint="--classes") from None
    # An option that is called as a setting is that setting.
    given = {name: value for name, value in context.params.items() if name in SETTINGS and value is not None}
    settings = asked_settings(profile) | given
    n_jobs = jobs or os.cpu_count() or 1
    result = build(data, file, names, labels=labels or (), settings=settings, n_jobs=n_jobs, notify=notice, **asked)
    from featurize.update import summary

    print(json.dumps(summary.as_json(result))) if as_json else summarise(summary.as_text(result))


if __name__ == "__main__":
    run(app, called("featurize"), KEPT)

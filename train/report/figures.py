"""The pictures of a report, drawn with matplotlib: learning curves, confusion matrix, calibration, spectrograms."""

import base64
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.text import printable
from train.report.page import COLOURS, FONTS, colours
from train.score.metrics import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"

MAX_CLASSES_DRAWN = 60
MAX_CLASSES_COUNTED = 20
MAX_CURVES = 60
_MAX_NAME = 18
_PNG_DPI = 200

Curves = Sequence[Mapping[str, Sequence[float]]]


class Drawing(NamedTuple):
    """A figure as a page takes it: a data URI, and its size in pixels."""

    src: str
    width: int
    height: int


class Picture(NamedTuple):
    """A spectrogram as a data URI, and where in the clip it starts and ends."""

    source: str
    starts: str
    ends: str


@contextmanager
def drawing() -> Iterator[None]:
    """Let matplotlib draw in the style of the report for the time of the block; names are not taken for formulas."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # about where it may keep its list of fonts
    import matplotlib as mpl

    of = {
        "ink": ["text.color"],
        "muted": ["axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"],
        "line": ["grid.color"],
    }
    in_light = {setting: COLOURS[name][0] for name, settings in of.items() for setting in settings}
    with mpl.rc_context(in_light, _STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has the letters that this font lacks
        yield


def as_png(figure: "Figure") -> bytes:
    """Return a figure as PNG, in the light colours."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_PNG_DPI, facecolor=COLOURS["paper"][0])
    return out.getvalue()


def curves_figure(curves: Curves, measure: str, best_epoch: int | None) -> "Figure":
    """Draw how a measure went over the epochs of a fit, or over those of every fold with the folds' mean.

    There are curves for each fit, by the names in `history.csv`; the measure is `loss` or `accuracy`, with `val_`
    before it on the validation clips. The epoch that was kept is marked.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(4.4, 3.0)
    sides = [(measure, "training", "muted")]
    if f"val_{measure}" in curves[0]:
        sides.append((f"val_{measure}", "validation", "accent"))
    ends = []
    for name, title, colour in sides:
        if len(curves) > 1:
            for curve in curves[:MAX_CURVES]:
                axes.plot(curve["epoch"], curve[name], color=COLOURS[colour][0], linewidth=0.8, alpha=0.35)
        epochs, mean = _mean_curve(curves, name)
        # A point is all there is of a single epoch.
        axes.plot(epochs, mean, color=COLOURS[colour][0], marker="o" if len(epochs) == 1 else None, markersize=4)
        ends.append((epochs[-1], mean[-1], title, colour))
    if best_epoch is not None:
        axes.axvline(best_epoch, color=COLOURS["muted"][0], linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate(
            "kept", (best_epoch, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", color=COLOURS["muted"][0], fontsize=8,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if measure == "accuracy":
        axes.set_ylim(0, 1.02)
        _percent_axis(axes.yaxis)
    else:
        axes.set_ylim(0, None)
    _label_ends(axes, ends)
    axes.set(xlabel="epoch", ylabel=measure)
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix, each cell as strong as its share of the true class."""
    from matplotlib.patches import Rectangle

    counts = np.asarray(confusion)
    n = len(counts)
    names = [_short(name) for name in class_names]
    side = float(np.clip(0.78 * n, 2.0, 8.0))
    longest = max(map(len, names))
    upright = n <= 6 and longest * n < 40
    margin = 0.075 * longest + 0.5
    figure, axes = _figure(side + margin, side + (0.6 if upright else margin))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = float(np.clip(0.45 * 72 * side / n, 5, 10))
    tick_size = float(np.clip(0.8 * 72 * side / n, 5, 9))
    for i, j in np.argwhere(counts):
        colour = COLOURS["accent" if i == j else "wrong"][0]
        strength = 0.12 + 0.88 * float(share[i, j]) ** 0.7
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, alpha=strength, linewidth=0))
        if n <= MAX_CLASSES_COUNTED:
            ink = COLOURS["paper" if strength > 0.6 else "ink"][0]
            axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", color=ink, fontsize=size)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal")
    axes.set_xticks(np.arange(n), names, rotation=0 if upright else 90, fontsize=tick_size)
    axes.set_yticks(np.arange(n), names, fontsize=tick_size)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(which="minor")
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def calibration_figure(bins: Sequence[Bin], counted: str) -> "Figure":
    """Draw accuracy over confidence, and below it how many clips or tests (`counted`) there are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.9), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot((0, 1), (0, 1), color=COLOURS["muted"][0], linewidth=0.8, linestyle=(0, (2, 3)))
    x, y = [one.confidence for one in bins], [one.accuracy for one in bins]
    low, high = zip(*(one.interval for one in bins), strict=True)
    upper.vlines(x, low, high, color=COLOURS["accent"][0], alpha=0.45, linewidth=1.4)
    upper.plot(x, y, color=COLOURS["accent"][0], marker="o", markersize=4.5)
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="right")
    _percent_axis(upper.yaxis)
    width = 0.86 * (bins[0].high - bins[0].low)
    lower.bar([one.low for one in bins], [one.n for one in bins], width, align="edge", color=COLOURS["muted"][0])
    lower.set(xlabel="probability of the predicted class", ylabel=counted)
    lower.locator_params(axis="y", nbins=2, integer=True)
    lower.grid(axis="x", visible=False)
    lower.tick_params(axis="x", pad=7)
    _percent_axis(lower.xaxis)
    figure.align_ylabels()
    return figure


class Thresholds(NamedTuple):
    """Precision and recall of a class by threshold, None where there is nothing to measure; and the one in use."""

    threshold: Sequence[float]
    precision: Sequence[float | None]
    recall: Sequence[float | None]
    used: float


def thresholds_figure(per_class: Mapping[str, Thresholds]) -> "Figure":
    """Draw how precision and recall of each class change with the threshold, a panel a class."""
    from matplotlib.figure import Figure

    n_columns = min(3, len(per_class))
    n_rows = -(-len(per_class) // n_columns)
    figure = Figure(figsize=(3.4 * n_columns, 2.7 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True).flat
    for panel, (name, one) in zip(panels, per_class.items(), strict=False):
        drawn = (("precision", one.precision, "accent", "-"), ("recall", one.recall, "wrong", "--"))
        for measure, shares, colour, line in drawn:
            values = [np.nan if value is None else value for value in shares]
            panel.plot(one.threshold, values, line, color=COLOURS[colour][0], label=measure)
        panel.axvline(one.used, color=COLOURS["muted"][0], linewidth=0.8, linestyle=(0, (2, 3)))
        panel.set_title(_short(name), fontsize=9)
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0.2, 0.4, 0.6, 0.8))
        _percent_axis(panel.xaxis)
        _percent_axis(panel.yaxis)
    for panel in panels:
        panel.set_axis_off()
    figure.supxlabel("threshold", color=COLOURS["muted"][0], fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


def as_picture(figure: "Figure") -> Drawing:
    """Return a figure as an SVG whose colours follow the reader's choice of light or dark, its fonts those of the page.

    In the SVG that matplotlib writes each light colour stands for its name, so no two may be equal.
    """
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    head, mark, body = out.getvalue().decode().partition("<defs>")
    for name, (colour, _) in COLOURS.items():
        body = body.replace(f": {colour}", f": var(--{name})")
    body = re.sub(r"'DejaVu Sans', sans-serif", FONTS, body)
    svg = base64.b64encode(f"{head}<style>{colours()}</style>{mark}{body}".encode()).decode()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Drawing(f"data:image/svg+xml;base64,{svg}", width, height)


def picture_of(x: npt.NDArray[np.floating], start: float, end: float) -> Picture:
    """Return a spectrogram in [0, 1], shape (n_mels, n_frames), that lasts from start to end in seconds."""
    source = f"data:image/png;base64,{base64.b64encode(spectrogram_png(x)).decode()}"
    return Picture(source, f"{start:.2f} s", f"{end:.2f} s")


def spectrogram_png(x: npt.NDArray[np.floating]) -> bytes:
    """Return a spectrogram in [0, 1], shape (n_mels, n_frames), as a PNG of one pixel a value, low bands below."""
    from matplotlib.image import imsave

    out = io.BytesIO()
    imsave(out, x, vmin=0, vmax=1, cmap="magma", origin="lower", format="png")
    return out.getvalue()


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _mean_curve(curves: Curves, name: str) -> tuple[list[int], list[float]]:
    """Return the epochs that half of the curves reach, and the mean of a measure: a mean of few curves would jump."""
    by_epoch: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in zip(curve["epoch"], curve[name], strict=True):
            by_epoch.setdefault(int(epoch), []).append(value)
    kept = {epoch: values for epoch, values in sorted(by_epoch.items()) if 2 * len(values) >= len(curves)}
    return list(kept), [sum(values) / len(values) for values in kept.values()]


def _label_ends(axes: "Axes", ends: list[tuple[int, float, str, str]]) -> None:
    """Name each line at its end, the names apart from each other."""
    low, high = axes.get_ylim()
    apart = 0.075 * (high - low)
    ends = sorted(ends, key=lambda end: end[1])
    heights = [y for _, y, _, _ in ends]
    if len(ends) == 2 and heights[1] - heights[0] < apart:
        middle = min(max(sum(heights) / 2, low + apart / 2), high - apart / 2)
        heights = [middle - apart / 2, middle + apart / 2]
    right = max(x for x, _, _, _ in ends)
    for (_, _, title, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            title, (right, height), xytext=(5, 0), textcoords="offset points", va="center",
            color=COLOURS[colour][0], annotation_clip=False,
        )  # fmt: skip


def _percent_axis(axis: "Axis") -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"

"""draw_sheet(): a picture of some clips of every class, with the durations and sample rates of all."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np

from cache.file.reader import Cache
from cache.file.settings import Setting, band
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.text import human_count, human_seconds, printable
from cache.shared.types import Rows

N_CLIPS_PER_CLASS = 4
MAX_CLASSES = 20
_MAX_RATES = 6
_MAX_NAME = 25
_N_BINS = 24
# Frequencies that may be marked; marked are those that lie at least so many bands above the one before.
_TICKS_HZ = (0, 50, 100, 200, 500, *(1000 * khz for khz in (1, 2, 4, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200)))
_TICK_BANDS = 12
_FONT = "DejaVu Sans"  # matplotlib brings it along
_BAR = "#4c72b0"
# If the longest clip is longer than so many medians, a linear axis would put all others into one bar.
_LOG_FROM = 30


def draw_sheet(cache: Cache, out: Path, seed: int) -> tuple[int, int]:
    """Draw a row of clips for every class, beside histograms of all its durations and sample rates.

    Returns how many clips and classes the picture shows; it has at most `MAX_CLASSES`, the first. Raises a UserError if
    the picture's extension is not png, svg or pdf.
    """
    if out.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"{out}: the picture must end in .png, .svg or .pdf")
    from matplotlib.figure import Figure

    rng, labels = np.random.default_rng(seed), cache.labels
    of_class = [np.flatnonzero(labels == label) for label in range(len(cache.class_names))][:MAX_CLASSES]
    with plain_text():
        figure = Figure(figsize=(13, 1.1 + 2.15 * len(of_class)), layout="constrained")
        parts: Any = figure.subfigures(len(of_class) + 1, 1, height_ratios=[1.0] * len(of_class) + [0.4])
        *bands, foot = parts
        n_clips = 0
        for name, rows, one in zip(cache.class_names, of_class, bands, strict=False):
            chosen = np.sort(rng.choice(rows, min(N_CLIPS_PER_CLASS, len(rows)), replace=False))
            n_clips += len(np.unique(cache.clips[chosen]))
            image = _draw_class(one, cache, name, rows, chosen)
        _draw_scale(foot, image, cache)
        with replacing(out) as beside:
            figure.savefig(beside, dpi=110)
    return n_clips, len(of_class)


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw text in the block as plain text, in a font that matplotlib brings along."""
    # A matplotlibrc may send names through TeX, or ask for a font that is not installed.
    from matplotlib import rc_context

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # about where it may keep its list of fonts
    with rc_context({"text.usetex": False, "text.parse_math": False, "font.family": [_FONT]}):
        yield


def _draw_class(figure: Any, cache: Cache, name: str, rows: Rows, chosen: Rows) -> Any:
    clips = np.unique(cache.clips[rows])
    seconds = float(cache.clip_durations[clips].sum())
    title = f"{_shortened(drawable(name))}: {human_count(len(clips), 'clip')}, {human_seconds(seconds)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    *axes, durations, rates = figure.subplots(
        1, N_CLIPS_PER_CLASS + 2, width_ratios=[1.0] * N_CLIPS_PER_CLASS + [0.8, 0.6]
    )
    for ax, row in zip(axes, chosen.tolist(), strict=False):
        image = _draw_clip(ax, cache, row)
    axes[0].set_ylabel("kHz (mel scale)", fontsize=8)
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()
    _draw_durations(durations, cache, clips)
    _draw_rates(rates, cache, cache.first_rows[clips])
    for ax in (*axes, durations, rates):
        ax.tick_params(labelsize=7)
    return image


def _draw_clip(ax: Any, cache: Cache, row: int) -> Any:
    x, settings = np.asarray(cache.X[row, :, :, 0], np.float32), cache.settings
    n_mels, n_frames = x.shape
    seconds = float(settings["hop_length"]) / float(settings["sr"])  # from one frame to the next
    # Frame i is centred on its time, and band i on its place in the mel scale.
    edges = (-0.5 * seconds, (n_frames - 0.5) * seconds, -0.5, n_mels - 0.5)
    image = ax.imshow(x, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="magma", extent=edges)
    ticks = _ticks(settings)
    ax.set_yticks([band(hz, settings) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks])
    ax.set_ylim(-1, n_mels)
    ax.set_facecolor("black")  # half a band beyond the outermost
    ax.set_xlabel("s", fontsize=8)
    n_clip, duration = int(cache.columns["n_frames"][row]), float(cache.columns["duration"][row])
    shown, clip = human_seconds(duration), cache.columns["clip"][row]
    if n_clip < n_frames:
        ax.axvline((n_clip - 0.5) * seconds, color="white", linewidth=0.8, linestyle=(0, (4, 3)))
    elif clip:
        shown = f"from {cache.columns['start'][row]:.1f} to {cache.columns['end'][row]:.1f} s"
    elif n_clip > n_frames:
        shown += f", the middle {n_frames * seconds:.2g} s"
    path = (clip or cache.columns["path"][row]).decode()
    is_file = clip or cache.columns["end"][row] == 0
    name = _shortened(drawable(path.partition("/")[2] if is_file else path))
    ax.set_title(f"{name}\n{shown}", fontsize=8)
    return image


def _ticks(settings: Mapping[str, Setting]) -> list[int]:
    low, high = float(settings["fmin"]), float(settings["fmax"])
    ticks: list[int] = []
    for hz in _TICKS_HZ:
        if low <= hz <= high and (not ticks or band(hz, settings) - band(ticks[-1], settings) >= _TICK_BANDS):
            ticks.append(hz)
    return ticks


def _draw_durations(ax: Any, cache: Cache, clips: Rows) -> None:
    durations = cache.clip_durations
    shortest, median, longest = np.quantile(durations, (0, 0.5, 1))
    if longest > _LOG_FROM * median:
        bins = np.geomspace(shortest, longest, _N_BINS + 1)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    else:
        margin = 0.02 * (longest - shortest) if longest > shortest else 0.5 * longest
        bins = np.linspace(shortest - margin, longest + margin, _N_BINS + 1)
    ax.hist(durations[clips], bins, color=_BAR)
    ax.set_xlim(bins[0], bins[-1])
    ax.set_title("duration", fontsize=8)
    ax.set_xlabel("s", fontsize=8)
    ax.set_ylabel("clips", fontsize=8)
    ax.locator_params(axis="y", nbins=4, integer=True)


def _draw_rates(ax: Any, cache: Cache, rows: Rows) -> None:
    all_rates, counts = np.unique(cache.columns["sr"][cache.first_rows], return_counts=True)
    frequent = np.sort(all_rates[np.argsort(-counts, kind="stable")[:_MAX_RATES]])
    of_class = cache.columns["sr"][rows]
    heights = [int(np.count_nonzero(of_class == rate)) for rate in frequent]
    names = [f"{rate / 1000:g} kHz" for rate in frequent.tolist()]
    if len(all_rates) > len(frequent):
        heights.append(len(rows) - sum(heights))
        names.append("other")
    bars = ax.barh(names, heights, color=_BAR, height=0.6)
    ax.bar_label(bars, fontsize=7, padding=2)
    ax.set_xlim(0, 1.3 * max(heights))
    ax.set_ylim(len(names) - 0.25 if len(names) > 1 else 1, -0.75 if len(names) > 1 else -1)
    ax.set_title("sample rate", fontsize=8)
    ax.set_xlabel("clips", fontsize=8)
    ax.locator_params(axis="x", nbins=3, integer=True)


def _draw_scale(figure: Any, image: Any, cache: Cache) -> None:
    bar = figure.colorbar(image, cax=figure.add_axes((0.3, 0.72, 0.4, 0.16)), orientation="horizontal")
    bar.ax.tick_params(labelsize=7)
    bar.set_label(
        "level in dB, scaled to each clip's own range: 1 its peak, 0 its lowest value, at most"
        f" {cache.settings['top_db']:g} dB below\ndashed: the end of a shorter clip, with padding after it",
        fontsize=8,
    )


def drawable(name: str) -> str:
    r"""Return a name as a figure can show it, with ``\uXXXX`` for what moves a cursor or is not in the font."""
    known = _characters()
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode() for c in printable(name))


@remember
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _shortened(name: str) -> str:
    # The middle goes, because names of clips often differ at their ends.
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[:half]}…{name[-half:]}"

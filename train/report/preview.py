"""draw_preview(): a picture of clips as the cache holds them and as training varies them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cache import Cache, open_cache
from cache.look.plot import drawable, plain_text
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.types import Rows
from train.dataset.augment import augment
from train.models import recipes as models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_CLIPS_PER_CLASS = 2
N_VARIATIONS = 4


def draw_preview(cache_file: Path, out: Path, model: str, seed: int) -> int:
    """Draw some clips of every class beside versions that a model's augmentation varied; return how many clips.

    Raises a UserError if the model's recipe varies nothing, the cache cannot be used, or the picture does not end in
    .png, .svg or .pdf.
    """
    settings = models.recipe(model).augmentation
    if settings is None:
        raise UserError(f"the model {model!r} is trained on the clips as they are; there is nothing to preview")
    if out.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"{out}: the picture must end in .png, .svg or .pdf")
    cache = open_cache(cache_file)
    settings = replace(settings, range_db=float(cache.settings["top_db"]))
    rng = np.random.default_rng(seed)
    rows = _some_rows(cache, rng)
    n_frames = cache.columns["n_frames"][rows].astype(np.int64)
    X = np.asarray(cache.X[rows, :, : models.input_columns(model, int(n_frames.max()))], np.float32)
    columns = [("in the cache", X)]
    columns += [("varied", augment(X, n_frames, rng, settings)) for _ in range(N_VARIATIONS)]
    labels = [cache.class_names[label] for label in cache.labels[rows]]
    with plain_text(), replacing(out) as beside:
        _draw(columns, [Path(cache.paths[row]).name for row in rows], labels).savefig(beside, dpi=100)
    return len(rows)


def _some_rows(cache: Cache, rng: np.random.Generator) -> Rows:
    rows: list[int] = []
    for label in range(len(cache.class_names)):
        of_class = np.flatnonzero(cache.labels == label)
        rows += rng.choice(of_class, min(N_CLIPS_PER_CLASS, len(of_class)), replace=False).tolist()
    return np.array(rows, np.intp)


def _draw(columns: list[tuple[str, npt.NDArray[np.float32]]], names: list[str], labels: list[str]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(columns), 1.9 * len(names) + 0.4), layout="constrained")
    axes = figure.subplots(len(names), len(columns), squeeze=False, sharex=True, sharey=True)
    for j, (title, X) in enumerate(columns):
        for i, (name, label) in enumerate(zip(names, labels, strict=True)):
            axes[i, j].imshow(X[i, :, :, 0], origin="lower", aspect="auto", vmin=0, vmax=1, cmap="magma")
            lines = [name, label] if j == 0 else [label]
            axes[i, j].set_title("\n".join(map(drawable, lines)), fontsize=7)
        axes[0, j].annotate(title, (0.5, 1.35), xycoords="axes fraction", ha="center", fontsize=9, fontweight="bold")
        axes[-1, j].set_xlabel("frame", fontsize=7)
    for row in axes:
        row[0].set_ylabel("mel band", fontsize=7)
        for one in row:
            one.tick_params(labelsize=6)
    return figure

"""The sides of the rows about training, each a whole process: `python -m tests.bench.fits NAME ...` prints one number.

A rate is samples a second once the first steps are over; nothing of one side is loaded in the process of another.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

N_ROWS = 480
BATCH_SIZE = 32
SECONDS = 4.0


def rate(epoch: Callable[[], object], n_rows: int = N_ROWS) -> float:
    """Samples a second of the median of some seconds' epochs, after one to warm up."""
    epoch()
    rates, began = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - began < SECONDS:
        started = time.perf_counter()
        epoch()
        rates.append(n_rows / (time.perf_counter() - started))
    return sorted(rates)[len(rates) // 2]


def ours(cache_file: Path) -> float:
    """An epoch as `train fit` runs it, without the validation."""
    from cache import open_cache
    from train.dataset.rows import Batches
    from train.fitting.loop import compile_steps
    from train.models.recipes import build_to_train

    cache = open_cache(cache_file)
    rows = spread(len(cache))
    widest = int(cache.columns["n_frames"].max())
    model = build_to_train("baseline", len(cache.class_names), None, 1000, widest)
    batches = Batches(cache.X, cache.y, rows, BATCH_SIZE, model.input_shape[2])
    compiled = compile_steps(model)
    return rate(lambda: one_epoch(compiled, batches))


def one_epoch(compiled: Any, batches: Any) -> None:
    """A step on every batch, as `train fit` takes them."""
    import numpy as np

    for X, y in batches:
        compiled.train(X, y, np.ones(len(y), np.float32))


def notebook(cache_file: Path) -> float:
    """The notebook's cells 7 to 9 on arrays in memory, with this batch size."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow.keras import layers, models

    X, y = arrays(cache_file)
    model = models.Sequential(
        [
            layers.Input((128, 128, 1)),
            layers.Conv2D(filters=32, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(filters=64, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(y.shape[1], activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return rate(lambda: model.fit(X, y, batch_size=BATCH_SIZE, verbose=0))


def torch(cache_file: Path, n_threads: int) -> float:
    """The same network in PyTorch: channels last, pooling before ReLU, its one-pass Adam."""
    import torch
    from torch import nn

    torch.set_num_threads(n_threads)
    X, y = (torch.from_numpy(array) for array in arrays(cache_file))
    X = X.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    network = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 32 * 64, 64), nn.ReLU(), nn.Linear(64, y.shape[1])),
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), eps=1e-7, fused=True)

    def epoch() -> None:
        order = torch.randperm(len(X))
        for start in range(0, len(X), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()

    return rate(epoch)


def batches(cache_file: Path) -> float:
    """The input alone: shuffled batches of all rows from the map, as wide as the model takes them."""
    import numpy as np

    from cache import open_cache
    from train.dataset.rows import Batches
    from train.models.recipes import build_to_train

    cache = open_cache(cache_file)
    model = build_to_train("baseline", len(cache.class_names), None, 1000, int(cache.columns["n_frames"].max()))
    feed = Batches(cache.X, cache.y, np.arange(len(cache)), BATCH_SIZE, model.input_shape[2])

    def epoch() -> None:
        feed.shuffle(0, 0)
        for index in range(len(feed)):
            feed[index]

    return rate(epoch, len(cache))


def epoch_from(cache_file: Path, where: str) -> float:
    """Samples a second of one epoch of compact on rows that lie all over the file.

    `memory`: they are in memory; `disk`: they are not; `disk-unasked`: they are not, and are read when they are used.
    """
    import numpy as np

    from cache import open_cache
    from train.dataset.rows import Batches
    from train.fitting.loop import compile_steps
    from train.models.recipes import build_to_train

    cache = open_cache(cache_file)
    rows, n_frames = spread(len(cache)), cache.columns["n_frames"].astype(np.int64)
    model = build_to_train("compact", len(cache.class_names), None, 1000, int(n_frames.max()))
    compiled = compile_steps(model)
    batches = Batches(cache.X, cache.y, rows, BATCH_SIZE, model.input_shape[2])
    blank = np.zeros((BATCH_SIZE, *model.input_shape[1:]), np.float32)
    for _ in range(5):
        compiled.train(blank, cache.y[:BATCH_SIZE], np.ones(BATCH_SIZE, np.float32))
    if where == "memory":
        one_epoch(compiled, batches)
    else:
        drop(cache_file)
    if where == "disk-unasked":
        batches._map = None
    started = time.perf_counter()
    batches.shuffle(0, 0)
    one_epoch(compiled, batches)
    return len(rows) / (time.perf_counter() - started)


def drop(file: Path) -> None:
    """Take a file's pages out of memory (those that nothing has mapped yet)."""
    with file.open("rb") as raw:
        os.fsync(raw.fileno())
        os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_steps(cache_file: Path, run: Path, n_steps: int = 1) -> None:
    """`train fit` up to the end of its first optimiser steps, where the process ends."""
    import runpy

    import tqdm

    left = iter(range(n_steps - 1))
    # The progress bar is told of every step, whether it is shown or not.
    tqdm.tqdm.update = lambda *_: next(left, None) is not None or os._exit(0)
    sys.argv = ["train", "fit", str(cache_file), "--run", str(run)]
    runpy.run_module("train", run_name="__main__")


def spread(n_clips: int) -> Any:
    """Rows from the whole cache, whose rows are in the order of the classes."""
    import numpy as np

    return np.linspace(0, n_clips - 1, N_ROWS).astype(int)


def arrays(cache_file: Path) -> tuple[Any, Any]:
    """The same rows and labels as arrays in memory, as the notebook has them."""
    import numpy as np

    from cache import open_cache

    cache = open_cache(cache_file)
    rows = spread(len(cache))
    return np.array(cache.X[rows], np.float32), np.array(cache.y[rows])


def main(name: str, cache_file: str, *rest: str) -> None:
    if name == "first-steps":
        first_steps(Path(cache_file), Path(rest[0]), *map(int, rest[1:]))
    elif name == "epoch":
        print(epoch_from(Path(cache_file), rest[0]))
    elif name == "torch":
        print(torch(Path(cache_file), int(rest[0])))
    else:
        print({"ours": ours, "notebook": notebook, "batches": batches}[name](Path(cache_file)))


if __name__ == "__main__":
    main(*sys.argv[1:])

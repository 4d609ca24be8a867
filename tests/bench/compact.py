"""A fit of `compact`, by its recipe and in PyTorch: `python -m tests.bench.compact SIDE`.

Each is a process of its own, in which nothing of another side is loaded, and prints a line an epoch: seconds since
the libraries were loaded, and accuracy on the clips held back if there are any. All build the network, vary the same
rows in the same way and take as many optimiser steps an epoch.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cache import Cache, open_cache
from tests.bench.fits import one_epoch
from train.dataset.augment import Augmentation, augment
from train.dataset.given import choose_split
from train.dataset.splits import clip_groups
from train.models.compact import STRIDE

BATCH_SIZE, N_VIEWS = 32, 2
Clock = Callable[[], float]
# AdamW's, in PyTorch.
TORCH_RATE, TORCH_DECAY = 2e-3, 0.05


def ours(cache: Cache, train: Any, val: Any, epochs: int, seed: int, clock: Clock) -> Iterator[tuple[float, float]]:
    """As `train fit` does it."""
    from train.backend.keras import reseed, seed_everything
    from train.dataset.rows import Batches
    from train.fitting.loop import compile_steps
    from train.models.inference import forward, predict_rows
    from train.models.recipes import build_model, build_to_train, recipe

    started, own = clock(), recipe("compact")
    seed_everything(seed, deterministic=False)
    n_frames = cache.columns["n_frames"].astype(np.int64)
    n_steps = epochs * -(-len(train) // BATCH_SIZE)
    n_classes = len(cache.class_names)
    model = build_to_train("compact", n_classes, None, n_steps, int(n_frames.max()))
    compiled = compile_steps(model)
    batches = Batches(
        cache.X, cache.y, train, BATCH_SIZE, model.input_shape[2], own.augmentation, n_frames, n_views=own.n_views
    )
    whole = build_model("compact", n_classes)
    scoring = 0.0
    for epoch in range(epochs):
        batches.shuffle(seed, epoch)
        reseed(model, seed, epoch)
        one_epoch(compiled, batches)
        paused = clock()
        accuracy = float("nan")
        if len(val):
            whole.set_weights(model.get_weights())
            accuracy = float((predict_rows(forward(whole), cache.X, val).argmax(axis=1) == cache.labels[val]).mean())
        scoring += clock() - paused
        yield clock() - started - scoring, accuracy


class Varied:
    """Batches as a map for PyTorch's loader."""

    def __init__(self, cache: Cache, rows: Any, n_columns: int, seed: int) -> None:
        self.cache, self.n_columns, self.seed = cache, n_columns, seed
        self.batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows, rng = np.tile(self.batches[index], N_VIEWS), np.random.default_rng([self.seed, index])
        X = np.asarray(self.cache.X)[rows, :, : self.n_columns].astype(np.float32, copy=False)
        return augment(X, self.cache.columns["n_frames"][rows], rng, Augmentation()), self.cache.y[rows]


def torch(
    cache: Cache, train: Any, val: Any, epochs: int, seed: int, clock: Clock, n_threads: int = 2, n_workers: int = 1
) -> Iterator[tuple[float, float]]:
    """The same network in PyTorch: channels last, its one-pass AdamW, batches from its loader's processes."""
    import torch
    from torch import nn

    torch.set_num_threads(n_threads)
    started = clock()

    class Sounding(nn.Module):
        """A convolution, normalised, silent where the clip is."""

        def __init__(self, n_in: int, n_filters: int, size: Any, stride: Any, padding: Any) -> None:
            super().__init__()
            self.conv = nn.Conv2d(n_in, n_filters, size, stride, padding, bias=False)
            self.norm = nn.BatchNorm2d(n_filters)

        def forward(self, x: Any, sound: Any) -> Any:
            return nn.functional.relu(self.norm(self.conv(x))) * sound

    class Compact(nn.Module):
        def __init__(self, n_classes: int) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                [
                    Sounding(1, 16, (7, 5), (4, 2), (3, 2)),
                    Sounding(16, 32, 3, (2, 1), 1),
                    Sounding(32, 48, 3, 1, 1),
                    Sounding(48, 64, 3, 1, 1),
                    Sounding(64, 96, 3, 1, 1),
                ]
            )
            self.last = Sounding(96, 128, (8, 1), 1, 0)
            self.classify = nn.Sequential(nn.Dropout(0.3), nn.Linear(256, n_classes))

        def forward(self, x: Any) -> Any:
            pool = nn.functional.max_pool2d
            sound = pool(pool(x, (128, 1)).mul(1e4).clamp(max=1), (1, 2))
            x = self.blocks[1](self.blocks[0](x, sound), sound)
            x, sound = pool(self.blocks[2](x, sound), 2), pool(sound, (1, 2))
            x = self.blocks[4](self.blocks[3](x, sound), sound)
            frames = self.last(x, sound)
            share = (100 * sound - 100).softmax(dim=-1)
            return self.classify(torch.cat([(frames * share).sum((2, 3)), frames.amax((2, 3))], dim=1))

    n_frames = int(cache.columns["n_frames"].max())
    n_columns = min(128, -(-n_frames // STRIDE) * STRIDE)
    network = Compact(len(cache.class_names)).to(memory_format=torch.channels_last)
    n_batches = -(-len(train) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), TORCH_RATE, weight_decay=TORCH_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TORCH_RATE, epochs * n_batches, pct_start=0.1)

    def accuracy() -> float:
        network.eval()
        with torch.inference_mode():
            X = np.asarray(cache.X)[val, :, :n_columns, 0].astype(np.float32)[:, None]
            predicted = [network(part).argmax(1) for part in torch.from_numpy(X).split(100)]
        network.train()
        return float((torch.cat(predicted).numpy() == cache.labels[val]).mean())

    scoring = 0.0
    for epoch in range(epochs):
        rows = np.random.default_rng([seed, epoch]).permutation(train)
        loader = torch.utils.data.DataLoader(
            Varied(cache, rows, n_columns, epoch), batch_size=None, num_workers=n_workers
        )
        for X, y in loader:
            x = X.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(x), y, label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
        paused = clock()
        scored = accuracy() if len(val) else float("nan")
        scoring += clock() - paused
        yield clock() - started - scoring, scored


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compact", description=__doc__)
    parser.add_argument("side", choices=["ours", "torch"])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-list", help="clips to hold back, as for `train fit`; none by default")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--workers", type=int, default=1, help="processes of PyTorch's loader")
    given = parser.parse_args()
    cache = open_cache(given.cache)
    rows = np.arange(len(cache)), np.arange(0)
    if given.test_list:
        groups = clip_groups(cache.paths, cache.columns["sha256"])
        split, _ = choose_split(cache, groups, 0.0, 0.0, given.seed, None, None, given.test_list)
        rows = np.flatnonzero(split == 0), np.flatnonzero(split == 2)
    asked = (cache, *rows, given.epochs, given.seed, time.perf_counter)
    sides = {
        "ours": lambda: ours(*asked),
        "torch": lambda: torch(*asked, given.threads, given.workers),
    }
    for seconds, accuracy in sides[given.side]():
        print(f"{seconds:.3f} {accuracy:.5f}", flush=True)


if __name__ == "__main__":
    main()

"""Checkpoint: whatever moment a fit ends at, it goes on after its last kept epoch, with the best weights until then."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cache.shared.errors import UserError
from tests.helpers.counting import Counting
from train.fitting import checkpoint
from train.fitting.checkpoint import Checkpoint, best_epoch
from train.runs.tables import History

# An epoch may be better than all before it, worse, or equal.
HISTORIES = [
    [
        {"epoch": i + 1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": value}
        for i, value in enumerate(of)
    ]
    for of in product((0.2, 0.5, 0.8), repeat=3)
]


@pytest.fixture(autouse=True)
def _without_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write without waiting for the disk, which takes most of the time of these tests."""
    monkeypatch.setattr("cache.shared.files._sync", lambda _: None)


def train(folder: Path, history: History) -> None:
    """Train a model and keep every epoch, as a fit does."""
    folder.mkdir(exist_ok=True)
    (folder / checkpoint.CHECKPOINT).mkdir(exist_ok=True)
    model, best = Counting(), []
    with Checkpoint(folder) as kept:
        for n in range(1, len(history) + 1):
            model.train()
            if best_epoch(history[:n]) == n:
                best = model.get_weights()
            kept.save(model, history[:n], best)


def restored(folder: Path) -> tuple[int, History, int]:
    """The epoch that a fit goes on after, its history, and the epoch of the best weights."""
    model = Counting()
    history, best = Checkpoint(folder).restore(model, 1)
    assert int(model.weights[0][0]) == len(history)
    return len(history), history, int(best[0][0])


def test_a_fit_goes_on_with_its_history_and_the_weights_of_its_best_epoch(tmp_path: Path) -> None:
    for i, history in enumerate(HISTORIES):
        train(tmp_path / str(i), history)
        assert restored(tmp_path / str(i)) == (3, history, best_epoch(history))


@pytest.mark.parametrize("n_writes", range(1, 10))
def test_a_fit_killed_between_any_two_writes_goes_on_after_its_last_whole_epoch(
    n_writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def dying(write: object) -> object:
        def instead(*given: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            write(*given)  # type: ignore[operator]

        return instead

    monkeypatch.setattr(checkpoint, "write_history", dying(checkpoint.write_history))
    monkeypatch.setattr(Checkpoint, "_write", dying(Checkpoint._write))
    for i, history in enumerate(HISTORIES):
        left, folder = [n_writes], tmp_path / str(i)
        try:
            train(folder, history)
        except KilledError:
            if n_writes == 1:
                assert Checkpoint(folder).restore(Counting(), 1) == ([], [])
                continue
        n_epochs, kept, best = restored(folder)
        assert n_epochs >= (n_writes - 1) // 3
        assert (kept, best) == (history[:n_epochs], best_epoch(history[:n_epochs]))


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with(tiny: str, tmp_path: Path) -> None:
    from train.fitting.loop import compile_steps
    from train.models.recipes import build_to_train

    before, after = (compile_steps(build_to_train(tiny, 3, None, 10, 128)).model for _ in range(2))
    X, y = (
        np.random.default_rng(0).random((8, 128, 128, 1), np.float32),
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0, 1]],
    )
    before.train_on_batch(X, y)
    kept = Checkpoint(tmp_path)
    train(tmp_path, HISTORIES[0][:1])
    (kept.folder / "latest.npz").unlink()
    before.save_weights(kept.folder / "latest.weights.h5")
    history, best = kept.restore(after, 1)
    assert history == HISTORIES[0][:1]
    assert all((a == b).all() for a, b in zip(best, before.get_weights(), strict=True))
    optimizers = before.optimizer, after.optimizer
    values = ([variable.numpy() for variable in optimizer.variables] for optimizer in optimizers)
    assert all((a == b).all() for a, b in zip(*values, strict=True))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["latest.npz", "best.npz"])
def test_a_damaged_checkpoint_is_an_error_of_a_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    train(tmp_path, next(history for history in HISTORIES if best_epoch(history) == 2))
    (tmp_path / checkpoint.CHECKPOINT / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be used, so this fit cannot go on"):
        restored(tmp_path)


def test_a_flipped_bit_in_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    train(tmp_path, HISTORIES[0])
    file = tmp_path / checkpoint.CHECKPOINT / "latest.npz"
    content = bytearray(file.read_bytes())
    content[content.index(np.array([3.0]).tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be used"):
        restored(tmp_path)


def test_a_checkpoint_of_another_network_is_an_error_that_says_so(tmp_path: Path) -> None:
    train(tmp_path, HISTORIES[0])
    with np.load(tmp_path / checkpoint.CHECKPOINT / "latest.npz") as kept:
        values = [np.zeros(2), *(kept[key] for key in kept.files[1:])]
    np.savez(tmp_path / checkpoint.CHECKPOINT / "latest.npz", *values)
    with pytest.raises(UserError, match="by a version that builds another network"):
        restored(tmp_path)


def test_a_disk_that_takes_no_more_ends_a_fit_at_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "_write", write)
    for n_epochs in (1, 2):
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path, HISTORIES[0][:n_epochs])

"""fit: what a run leaves, that it can be repeated and resumed to the bit, and when it stops."""

import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cache import open_cache
from cache.shared.errors import Interrupted, UserError
from tests.helpers.tables import table
from tests.helpers.tiny import OF_FIT
from train import fit
from train.fitting.fit import resume_fit
from train.fitting.options import Options


def weights(folder: Path) -> list[np.ndarray]:
    from train.backend.keras import keras

    return keras.models.load_model(folder / "model.keras").get_weights()


def test_a_run_holds_the_model_and_all_it_needs_later_and_nothing_half_done(run: Path, tones_cache: Path) -> None:
    files = {"model.keras", "network.onnx", "run.json", "split.csv", "history.csv", "predictions.csv", "nearest.csv"}
    assert {file.name for file in run.iterdir()} == files
    record, cache = json.loads((run / "run.json").read_text()), open_cache(tones_cache)
    assert record["state"] == "finished"
    assert tuple(record["class_names"]) == cache.class_names
    assert record["settings"] == cache.settings
    assert record["cache"]["fingerprint"] == cache.fingerprint
    assert record["clip_duration"] == 0.5
    assert {"python", "keras", "tensorflow", "numpy"} <= record["versions"].keys()
    assert len(table(run / "history.csv")) == record["n_epochs"] == 3


def test_the_split_table_lists_every_clip_and_keeps_speakers_together(run: Path, tones_cache: Path) -> None:
    rows = table(run / "split.csv")
    assert [row["path"] for row in rows] == open_cache(tones_cache).paths
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(Path(row["path"]).name.split("_")[0], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in sides.values())
    record = json.loads((run / "run.json").read_text())
    for name in ("train", "val", "test"):
        assert record["split"][name]["n"] == sum(row["split"] == name for row in rows)


def test_the_score_is_that_of_the_predictions_of_the_test_clips(run: Path) -> None:
    predictions, record = table(run / "predictions.csv"), json.loads((run / "run.json").read_text())
    assert {row["path"] for row in predictions} == {
        row["path"] for row in table(run / "split.csv") if row["split"] == "test"
    }
    right = [row["class"] == row["predicted"] for row in predictions]
    assert record["metrics"]["accuracy"] == pytest.approx(np.mean(right))
    assert all(row["class"] == row["path"].split("/")[0] for row in predictions)
    for row in predictions:
        probabilities = {name: float(row[f"p_{name}"]) for name in record["class_names"]}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == max(probabilities, key=probabilities.__getitem__)


def test_the_saved_weights_are_those_of_the_best_validation_epoch(run: Path, tones_cache: Path) -> None:
    from train.backend.keras import keras

    history, record = table(run / "history.csv"), json.loads((run / "run.json").read_text())
    best = max(history, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    assert record["best_epoch"] == int(best["epoch"])
    cache = open_cache(tones_cache)
    val = [i for i, row in enumerate(table(run / "split.csv")) if row["split"] == "val"]
    model = keras.models.load_model(run / "model.keras")
    loss, accuracy = model.evaluate(np.array(cache.X[val]), np.array(cache.y[val]), verbose=0)
    assert loss == pytest.approx(float(best["val_loss"]), rel=1e-4)
    assert accuracy == pytest.approx(float(best["val_accuracy"]))


def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_seed_others(
    run: Path, tones_cache: Path, tmp_path: Path
) -> None:
    same, _ = fit(tones_cache, tmp_path / "same", **OF_FIT)
    other, _ = fit(tones_cache, tmp_path / "other", **OF_FIT | {"seed": 1, "epochs": 1})
    assert (same / "history.csv").read_bytes() == (run / "history.csv").read_bytes()
    assert (same / "split.csv").read_bytes() == (run / "split.csv").read_bytes()
    assert all((a == b).all() for a, b in zip(weights(same), weights(run), strict=True))
    assert (other / "split.csv").read_bytes() != (run / "split.csv").read_bytes()
    assert table(other / "history.csv")[0] != table(run / "history.csv")[0]


@pytest.mark.parametrize("n_whole_epochs", [1, 2, 3])
def test_an_interrupted_fit_goes_on_to_the_same_weights_as_an_uninterrupted_one(
    n_whole_epochs: int, run: Path, tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.fitting import loop

    def interrupt(batches: Any, seed: int, epoch: int) -> None:
        if epoch == n_whole_epochs:
            raise Interrupted(15)
        shuffle(batches, seed, epoch)

    def interrupt_predictions(*_: Any) -> None:
        raise Interrupted(15)

    shuffle = loop.Batches.shuffle
    with monkeypatch.context() as patch:
        patch.setattr(loop.Batches, "shuffle", interrupt)
        if n_whole_epochs == OF_FIT["epochs"]:
            patch.setattr("train.models.inference.predict_rows", interrupt_predictions)
        with pytest.raises(Interrupted):
            fit(tones_cache, tmp_path / "run", **OF_FIT)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "unfinished"
    resume_fit(tmp_path / "run", None)
    assert (tmp_path / "run" / "history.csv").read_bytes() == (run / "history.csv").read_bytes()
    assert all((a == b).all() for a, b in zip(weights(tmp_path / "run"), weights(run), strict=True))
    assert {file.name for file in (tmp_path / "run").iterdir()} == {file.name for file in run.iterdir()}


def test_a_fit_that_is_interrupted_while_it_loads_keras_says_how_to_go_on_and_so_does_the_same_command(
    tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise Interrupted(2)

    folder = tmp_path / "my run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "train.fitting.loop", Loading("loop"))
        with pytest.raises(Interrupted) as stop:
            fit(tones_cache, folder, **OF_FIT)
    go_on = f"go on with `python -m train fit --resume '{folder}'`"
    assert stop.value.kept.endswith(go_on)
    with pytest.raises(UserError) as refused:
        fit(tones_cache, folder, **OF_FIT)
    assert str(refused.value) == f"{folder} exists already; {go_on}, give another --run, or delete it first"
    _, record = resume_fit(folder, None)
    assert record.state == "finished"


def test_a_finished_fit_and_a_changed_cache_cannot_be_resumed(
    run: Path, tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="nothing to go on with"):
        resume_fit(run, None)
    record = json.loads((run / "run.json").read_text())
    record |= {"state": "unfinished", "cache": {**record["cache"], "fingerprint": "0" * 64}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="has changed since"):
        resume_fit(tmp_path, tones_cache)


def test_a_run_directory_is_never_written_over(run: Path, tones_cache: Path) -> None:
    before = (run / "run.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        fit(tones_cache, run, **OF_FIT)
    assert (run / "run.json").read_bytes() == before


def test_without_validation_the_last_epoch_is_kept_and_without_test_there_is_no_score(
    tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    folder, record = fit(tones_cache, tmp_path / "run", **OF_FIT | {"val": 0, "test": 0, "epochs": 2})
    assert record.metrics is None
    assert record.best_epoch == 2
    assert set(table(folder / "history.csv")[0]) == {"epoch", "loss", "accuracy"}


def test_patience_stops_so_many_epochs_after_the_best(tiny: str, tones_cache: Path, tmp_path: Path) -> None:
    # Nothing is learnt at this rate, so hardly an epoch is better than the one before it.
    options = OF_FIT | {"learning_rate": 1e-9, "epochs": 40, "patience": 2}
    _, record = fit(tones_cache, tmp_path / "run", **options)
    assert record.n_epochs == record.best_epoch + 2 < 40


def test_patience_without_validation_clips_is_said_to_have_no_effect(
    tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    fit(tones_cache, tmp_path / "run", notify=lines.append, **OF_FIT | {"epochs": 1, "patience": 1, "val": 0})
    assert sum("--patience has no effect" in line for line in lines) == 1


def test_a_loss_that_is_not_a_number_stops_with_a_line(tiny: str, tones_cache: Path) -> None:
    from train.dataset.rows import Batches
    from train.fitting.loop import compile_steps, train_model
    from train.models.recipes import build_model

    cache = open_cache(tones_cache)
    y = np.array(cache.y)
    y[5] = np.nan
    rows = np.arange(len(cache))
    with pytest.raises(UserError, match=r"loss is nan in epoch 1.*--learning-rate"):
        train_model(compile_steps(build_model(tiny, 3)), Batches(cache.X, y, rows, 8), None, Options(epochs=2, val=0))


def test_balanced_class_weights_are_scikit_learns() -> None:
    from train.fitting.loop import balanced_weights

    labels = np.repeat([0, 1, 2], [50, 10, 3])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(labels, 3).tolist() == pytest.approx(expected.tolist())


def test_class_weights_change_what_is_learnt(tiny: str, tones_cache: Path) -> None:
    from train.backend.keras import seed_everything
    from train.dataset.rows import Batches
    from train.fitting.loop import compile_steps, train_model
    from train.models.recipes import build_model

    cache = open_cache(tones_cache)
    rows = np.arange(24)
    losses = []
    for class_weights in (None, np.full(3, 2, np.float32)):
        seed_everything(0, deterministic=True)
        compiled = compile_steps(build_model(tiny, 3))
        batches = Batches(cache.X, cache.y, rows, 24)
        trained = train_model(compiled, batches, None, Options(epochs=1, val=0), class_weights)
        losses.append(trained.history[0]["loss"])
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-5)


def test_python_gets_the_warnings_of_a_run_at_its_own_line_and_who_takes_them_gets_lines(
    tiny: str, tones_cache: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        _, record = fit(tones_cache, tmp_path / "warned", **OF_FIT | {"epochs": 1})
    ours = [one for one in caught if one.category is UserWarning]
    assert [str(one.message) for one in ours] == record.warnings
    assert {one.filename for one in ours} == {__file__}
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _, record = fit(tones_cache, tmp_path / "told", notify=lines.append, **OF_FIT | {"epochs": 1})
    assert lines == record.warnings


def test_few_validation_clips_are_said_to_calibrate_little(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    n = record["split"]["val"]["n"]
    (line,) = (line for line in record["warnings"] if "calibrate" in line)
    assert line.startswith(f"only {n} validation clips to calibrate with")
    assert f"drawn towards 1 (to {record['temperature']:.2f})" in line

"""predict: the features of training, a line a file, and nothing that a bad file or a bad model could do."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.shared.errors import UserError
from featurize import featurize_clip
from tests.helpers.tables import predictions
from train.models.inference import forward_of
from train.predict.predict import classify, predict
from train.predict.recordings import Recording, Window, find_sources
from train.predict.rows import as_json
from train.runs.directory import Run, load_model, open_run

DROPOUT = '"module": "keras.layers", "class_name": "Dropout"'


def predict_files(run: Run, paths: list[Path]) -> Iterator[Window | Recording]:
    return predict(run, find_sources(paths))


def test_a_clip_has_the_probabilities_it_had_in_the_test_split(run: Path, tones: Path) -> None:
    rows = predictions(run)
    found = predict_files(open_run(run), [tones / row["path"] for row in rows])
    for row, one in zip(rows, found, strict=True):
        assert one.label == row["predicted"]
        assert list(one.probabilities.values()) == pytest.approx(
            [float(row[f"p_{n}"]) for n in one.probabilities], abs=1e-5
        )


def test_a_file_becomes_the_row_of_the_cache_to_the_bit(
    run: Path, tones: Path, tones_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def watched(run: Run, n_frames: int) -> Any:
        forward = forward_of(run, n_frames)
        return lambda batch: (seen.append(batch), forward(batch))[1]

    monkeypatch.setattr("train.predict.predict.forward_of", watched)
    cache = open_cache(tones_cache)
    list(predict_files(open_run(run), [tones / path for path in cache.paths]))
    assert (np.concatenate(seen) == cache.X).all()


def test_a_folder_stands_for_its_audio_files_and_bad_ones_do_not_stop_the_rest(
    run: Path, tones: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(tones / "dog" / "1s0_nohash_0.wav", folder / "b.wav")
    (folder / "a.wav").write_bytes(b"no audio at all")
    (folder / "notes.txt").write_text("not a clip")
    empty = tmp_path / "empty"
    empty.mkdir()
    paths = [folder, tmp_path / "missing.wav", empty]
    found = list(predict_files(open_run(run), paths))
    assert [one.path for one in found] == [folder / "a.wav", folder / "b.wav", tmp_path / "missing.wav", empty]
    assert [bool(one.probabilities) for one in found] == [False, True, False, False]
    assert all(one.reason for one in found if not one.probabilities)
    printed = [json.loads(as_json(open_run(run), one)) for one in found]
    assert [row["path"] for row in printed] == [str(one.path) for one in found]
    assert sum(printed[1]["probabilities"].values()) == pytest.approx(1)
    assert all(row["kind"] == "rejected" and row["reason"] for row in printed if row is not printed[1])


def test_sound_in_memory_is_classified_as_the_file_that_holds_it(run: Path, tones: Path) -> None:
    paths = sorted(tones.rglob("*.wav"))[:3]
    sounds = [soundfile.read(path, dtype="float32") for path in paths]
    of_files = [one.probabilities for one in classify(run, *paths)]
    assert [one.probabilities for one in classify(run, *sounds)] == of_files
    assert [one.probabilities for one in classify(run, (sounds[0][0].astype(float), 16000.0))] == of_files[:1]


def test_clips_come_one_by_one_or_in_lists(run: Path, tones: Path) -> None:
    paths = sorted(tones.rglob("*.wav"))[:3]
    sound = soundfile.read(paths[0])
    for given in ((paths,), (paths[0], paths[1:]), ([str(paths[0])], (paths[1], paths[2])), (iter(paths),)):
        assert [one.path for one in classify(run, *given)] == paths
    names = [str(one.path) for one in classify(run, [sound, paths[1]], sound)]
    assert names == ["clip 1", str(paths[1]), "clip 3"]


@pytest.mark.parametrize(
    ("clip", "complaint"),
    [
        (3, "not int"),
        (np.zeros(9), "not ndarray"),
        ((np.zeros(9, np.int16), 16000), "floats"),
        ((np.zeros((9, 2)), 16000), "mono"),
        ((np.zeros(0), 16000), "mono"),
        ((np.ones(9), 0), "sample rate"),
        ((np.ones(9), 44100.5), "sample rate"),
        ((np.ones(9), "44100"), "sample rate"),
    ],
)
def test_what_is_no_clip_is_one_line(clip: Any, complaint: str, run: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        classify(run, clip)


def test_samples_that_are_no_numbers_cost_their_own_clip(run: Path, tones: Path) -> None:
    sound = soundfile.read(next(tones.rglob("*.wav")))
    bad, good = classify(run, [(np.full(8000, np.nan), 16000), sound])
    assert "NaN" in bad.reason
    assert good.label


def test_a_threshold_is_a_number_numbers_by_class_or_auto(run: Path, tones: Path) -> None:
    paths = sorted((tones / "dog").glob("*.wav"))[:4]
    for threshold in (0, 1, 0.5, np.float32(0.5), {"dog": 0.5}, {}, "auto"):
        assert len(list(classify(run, paths, threshold=threshold))) == 4
    assert {one.label for one in classify(run, paths, threshold={"dog": 1.0})} <= {"", "cat", "bird"}
    for threshold in (-0.1, 1.1, np.nan, "high", None, {"dog": 2}, {"dog": "x"}):
        with pytest.raises(UserError, match="threshold is"):
            classify(run, paths, threshold=threshold)
    with pytest.raises(UserError, match="no class doog"):
        classify(run, paths, threshold={"doog": 0.5})


def change_record(run: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"run_format": 99}, "format 99"),
        ({"state": "unfinished"}, "--resume"),
        ({"command": "crossval"}, "is damaged"),
        ({"class_names": []}, "is damaged"),
        ({"class_names": [1, 2, 3]}, "is damaged"),
        ({"class_names": None}, "is damaged"),
        ({"settings": {}}, "settings.amin is missing"),
        ({"cache": {"dtype": "object", "file": "x", "fingerprint": "y"}}, "is damaged"),
        ({"cache": {"dtype": [], "file": "x", "fingerprint": "y"}}, "is damaged"),
        ({"cache": {"dtype": "float32"}}, "file"),
        ({"options": None}, "is damaged"),
        ({"feature_version": "x"}, "is damaged"),
        ({"temperature": 0}, "is damaged"),
        ({"temperature": "hot"}, "is damaged"),
        ({"thresholds": {"dog": None}}, "is damaged"),
        ({"thresholds": []}, "is damaged"),
    ],
)
def test_a_damaged_record_is_one_line(changes: dict[str, object], complaint: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        open_run(change_record(run, tmp_path / "run", **changes))


def test_a_run_without_a_temperature_says_what_its_network_says(run: Path, tones: Path, tmp_path: Path) -> None:
    clip = next(tones.rglob("*.wav"))
    uncalibrated = change_record(run, tmp_path / "run", temperature=None, thresholds={})
    temperature = open_run(run).temperature
    (raw,), (now,) = (list(predict_files(open_run(folder), [clip])) for folder in (uncalibrated, run))
    network = load_model(open_run(run)).predict(featurize_clip(clip)[None], verbose=0)[0]
    assert list(raw.probabilities.values()) == pytest.approx(network.tolist(), abs=1e-6)
    scaled = network.astype(float) ** (1 / temperature)
    assert list(now.probabilities.values()) == pytest.approx((scaled / scaled.sum()).tolist(), abs=1e-5)
    assert now.probabilities != raw.probabilities


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\x00"])
def test_a_record_that_is_no_json_object_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json"):
        open_run(tmp_path)


def test_features_of_another_version_are_refused(run: Path, tmp_path: Path) -> None:
    folder = change_record(run, tmp_path / "run", feature_version=-1)
    with pytest.raises(UserError, match="version -1"):
        list(predict_files(open_run(folder), []))


def rewrite_model(run: Path, folder: Path, change: Any) -> Path:
    """Copy a run with the text of its model's config.json changed."""
    shutil.copytree(run, folder)
    with zipfile.ZipFile(run / "model.keras") as old, zipfile.ZipFile(folder / "model.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content.decode()).encode() if name == "config.json" else content)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"class_name": "Dropout"', '"class_name": "Lambda"', "Lambda"),
        (
            '"module": "keras.layers", "class_name": "Dropout"',
            '"module": "os", "class_name": "system"',
            "not a part of",
        ),
        ('"module": "keras.layers", "class_name": "Dropout"', '"module": "kerasx", "class_name": "X"', "not a part of"),
        ('"class_name": "Sequential"', '"class_name": "Nonsense"', "damaged"),
        ('"units": 3', '"units": 4', "damaged|does not fit"),
    ],
)
def test_a_model_that_is_not_made_of_keras_layers_is_never_loaded(
    old: str, new: str, complaint: str, run: Path, tmp_path: Path
) -> None:
    def change(config: str) -> str:
        assert old in config
        return config.replace(old, new)

    folder = rewrite_model(run, tmp_path / "run", change)
    with pytest.raises(UserError, match=complaint):
        list(predict_files(open_run(folder), []))


def test_a_model_cut_anywhere_is_one_line(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    whole = (run / "model.keras").read_bytes()
    for n_bytes in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "run" / "model.keras").write_bytes(whole[:n_bytes])
        with pytest.raises(UserError, match="damaged"):
            list(predict_files(open_run(tmp_path / "run"), []))
    (tmp_path / "run" / "model.keras").unlink()
    with pytest.raises(UserError, match="missing"):
        list(predict_files(open_run(tmp_path / "run"), []))


def test_a_bit_flipped_in_the_weights_is_noticed(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    content = bytearray((run / "model.keras").read_bytes())
    with zipfile.ZipFile(run / "model.keras") as archive:
        at = archive.getinfo("model.weights.h5").header_offset + archive.getinfo("model.weights.h5").file_size // 2
    content[at] ^= 1
    (tmp_path / "run" / "model.keras").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        list(predict_files(open_run(tmp_path / "run"), []))


def a_gigabyte_of_zeros(how: str) -> bytes:
    """An HDF5 file whose array is larger than the file: compressed, or of chunks that were never written."""
    held = io.BytesIO()
    with h5py.File(held, "w") as h5:
        if how == "compressed":
            array = h5.create_dataset("a", (2**21,), "f4", chunks=(2**19,), compression="gzip")
            array[:] = 0
        else:
            h5.create_dataset("a", (2**28,), "f4", chunks=(2**20,))
    return held.getvalue()


@pytest.mark.parametrize("how", ["packed", "compressed", "never written"])
def test_a_model_that_unpacks_to_more_than_its_file_is_refused_by_the_sizes_it_states(
    how: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    weights = b"\0" * 50_000_000 if how == "packed" else a_gigabyte_of_zeros(how)
    with (
        zipfile.ZipFile(run / "model.keras") as old,
        zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED if how == "packed" else 0) as new,
    ):
        for name in old.namelist():
            new.writestr(name, weights if name == "model.weights.h5" else old.read(name))
    if how == "packed":
        monkeypatch.setattr(zipfile.ZipFile, "extract", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(UserError, match="would be larger than the file"):
        load_model(open_run(folder))


@pytest.mark.parametrize("clip", ["", ["a.wav", ""]])
def test_an_empty_name_is_not_the_working_directory(run: Path, clip: Any) -> None:
    with pytest.raises(UserError, match=r"^a clip is ''; it must be a path$"):
        list(classify(run, clip))

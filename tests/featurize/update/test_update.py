"""Bringing a cache up to date: what is computed, what is reused, and that the bytes never depend on the way there."""

import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.file.settings import MelSettings
from cache.look.info import check_rows
from cache.shared.errors import UserError
from featurize import build, featurize_clip
from featurize.update.summary import as_json, as_text
from tests import ROOT
from tests.helpers.commands import featurize_here
from tests.helpers.oracle import notebook

CLASSES = ("dog", "cat", "bird")


def write_clip(path, seed, seconds=0.1, sr=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.random.default_rng(seed).normal(0, 0.1, round(seconds * sr))
    soundfile.write(path, y, sr)


@pytest.fixture
def data(tmp_path):
    """Four tiny clips a class, each of another length."""
    for label, name in enumerate(CLASSES):
        for i in range(4):
            write_clip(tmp_path / "data" / name / f"{i}.wav", seed=10 * label + i, seconds=0.05 * (i + 1))
    return tmp_path / "data"


def run(data, cache_file=None, **options):
    said = []
    result = build(data, cache_file or data / "features.h5", notify=said.append, **options)
    return as_json(result) | {"said": said}


def counts(report):
    return {name: report[f"n_{name}"] for name in ("computed", "reused", "removed")}


def test_every_row_is_the_notebooks_with_its_label(data):
    run(data)
    cache = open_cache(data / "features.h5")
    assert cache.X.shape == (12, 128, 128, 1)
    assert cache.paths == [f"{name}/{i}.wav" for name in CLASSES for i in range(4)]
    for path, x, y in zip(cache.paths, cache.X, cache.y, strict=True):
        np.testing.assert_allclose(x, notebook(data / path), atol=1e-4)
        assert y.tolist() == [float(path.startswith(name)) for name in CLASSES]


def test_one_file_alone_gives_the_same_bits_as_in_the_cache(data):
    run(data)
    cache = open_cache(data / "features.h5")
    for path, x in zip(cache.paths, cache.X, strict=True):
        np.testing.assert_array_equal(featurize_clip(data / path), x)


def test_a_second_run_computes_nothing_and_leaves_the_file_alone(data):
    assert counts(run(data)) == {"computed": 12, "reused": 0, "removed": 0}
    before = (data / "features.h5").stat()
    assert counts(run(data)) == {"computed": 0, "reused": 12, "removed": 0}
    after = (data / "features.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in data.iterdir()) == ["bird", "cat", "dog", "features.h5"]


def test_a_new_a_changed_and_a_deleted_clip_cost_only_themselves(data):
    run(data)
    write_clip(data / "cat" / "1b.wav", seed=99)
    write_clip(data / "dog" / "2.wav", seed=98, seconds=0.3)
    (data / "bird" / "0.wav").unlink()
    assert counts(run(data)) == {"computed": 2, "reused": 10, "removed": 1}
    incremental = open_cache(data / "features.h5")
    run(data, data / "fresh.h5")
    fresh = open_cache(data / "fresh.h5")
    assert incremental.fingerprint == fresh.fingerprint
    np.testing.assert_array_equal(incremental.X, fresh.X)
    assert check_rows(incremental) == 12


def test_other_settings_code_or_dtype_recompute_everything_and_say_why(data, monkeypatch):
    def reason(**options):
        report = run(data, **options)
        assert report["n_computed"] == report["n_clips"]
        return report["said"][0]

    run(data)
    assert "fmax is 7000.0, the cache's was 8000.0" in reason(settings=MelSettings(fmax=7000.0))
    assert "fmax is 8000.0, the cache's was 7000.0" in reason(settings={"fmax": 8000})
    assert "the dtype is float16, the cache's was float32" in reason(dtype="float16")
    assert "the dtype is float32" in reason(dtype="float32")
    monkeypatch.setattr("featurize.update.request.FEATURE_VERSION", 3)
    assert "the feature code is version 3, the cache's was 2" in reason()


@pytest.mark.parametrize("names", [("cat", "dog"), ("bird", "cat", "dog"), ("bird", "ant")])
def test_classes_change_the_labels_and_no_row(data, names):
    before = run(data)
    write_clip(data / "ant" / "0.wav", seed=50)
    report = run(data, classes=names)
    assert report["n_computed"] == ("ant" in names)
    fresh = build(data, data / "fresh.h5", names).cache
    cache = open_cache(data / "features.h5")
    assert cache.class_names == names
    assert cache.fingerprint == fresh.fingerprint != before["fingerprint"]
    np.testing.assert_array_equal(cache.y, fresh.y)
    np.testing.assert_array_equal(cache.X, fresh.X)


def test_a_touched_clip_is_computed_again_unless_contents_are_compared(data):
    run(data)
    os.utime(data / "dog" / "0.wav", ns=(0, 1))
    assert counts(run(data, data / "features.h5", rehash=True)) == {"computed": 0, "reused": 12, "removed": 0}
    assert open_cache(data / "features.h5").columns["mtime_ns"][0] == 1
    assert counts(run(data)) == {"computed": 0, "reused": 12, "removed": 0}
    os.utime(data / "dog" / "0.wav", ns=(0, 2))
    assert counts(run(data)) == {"computed": 1, "reused": 11, "removed": 0}


def test_comparing_contents_finds_a_change_that_size_and_time_hide(data):
    run(data)
    file = data / "dog" / "0.wav"
    stat = file.stat()
    write_clip(file, seed=77, seconds=0.05)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    assert run(data)["n_computed"] == 0
    assert counts(run(data, rehash=True)) == {"computed": 1, "reused": 11, "removed": 0}
    np.testing.assert_allclose(open_cache(data / "features.h5").X[0], notebook(file), atol=1e-4)


def test_a_bad_clip_is_named_left_out_and_not_decoded_again_until_it_changes(data, monkeypatch):
    bad = data / "cat" / "0.wav"
    bad.write_text("no audio")
    report = run(data)
    assert [clip["path"] for clip in report["rejected"]] == ["cat/0.wav"]
    assert "libsndfile" in report["rejected"][0]["reason"]
    assert report["n_clips"] == 11

    def no_reading(*_):
        raise AssertionError("a clip was read")

    monkeypatch.setattr("featurize.update.compute.run_batches", no_reading)
    again = run(data)
    assert again["rejected"] == report["rejected"]
    monkeypatch.undo()
    write_clip(bad, seed=1)
    healed = run(data)
    assert healed["rejected"] == []
    assert counts(healed) == {"computed": 1, "reused": 11, "removed": 0}


def test_strict_publishes_nothing_at_a_bad_clip_and_leaves_the_old_cache(data):
    run(data)
    before = (data / "features.h5").read_bytes()
    (data / "cat" / "0.wav").write_text("no audio")
    for _ in range(2):
        with pytest.raises(UserError, match=r"cat/0\.wav: .*--strict"):
            run(data, strict=True)
        assert (data / "features.h5").read_bytes() == before


def test_a_class_without_a_usable_clip_is_an_error_if_it_was_named_and_left_out_with_a_line_if_not(data):
    for i in range(4):
        (data / "cat" / f"{i}.wav").write_text("no audio")
    with pytest.raises(UserError, match=r"cat has no usable clip \(cat/0\.wav: .*\); .*--classes"):
        run(data, classes="dog,cat,bird")
    assert not (data / "features.h5").exists()
    report = run(data)
    assert report["n_per_class"] == {"dog": 4, "bird": 4}
    [line] = [line for line in report["said"] if "no usable clip" in line]
    assert line.startswith("cat has no usable clip (cat/0.wav: ")
    again = run(data)
    assert counts(again) == {"computed": 0, "reused": 8, "removed": 0}
    fresh = build(data, data / "fresh.h5", "dog,bird").cache
    assert fresh.fingerprint == again["fingerprint"]
    for name in ("dog", "bird"):
        for i in range(4):
            (data / name / f"{i}.wav").write_text("no audio")
    with pytest.raises(UserError, match="has no usable clip"):
        run(data, data / "other.h5")


def test_the_first_n_clips_of_a_class_are_a_cache_of_their_own(data):
    assert run(data, max_per_class=2)["n_clips"] == 6
    assert counts(run(data, max_per_class=3)) == {"computed": 3, "reused": 6, "removed": 0}
    assert counts(run(data, max_per_class=1)) == {"computed": 0, "reused": 3, "removed": 6}


def test_duplicates_are_counted_and_conflicts_and_silence_named(data):
    shutil.copy(data / "dog" / "0.wav", data / "dog" / "copy.wav")
    shutil.copy(data / "dog" / "1.wav", data / "bird" / "copy.wav")
    soundfile.write(data / "cat" / "silent.wav", np.zeros(1000), 16000)
    report = run(data)
    assert report["n_duplicates"] == 1
    assert report["conflicts"] == [["dog/1.wav", "bird/copy.wav"]]
    assert report["n_silent"] == 1
    text = as_text(build(data, data / "features.h5"))
    assert "conflict dog/1.wav = bird/copy.wav" in text
    assert "silent cat/silent.wav" in text


@pytest.mark.parametrize("seed", range(6))
def test_the_bytes_depend_on_neither_jobs_nor_order_nor_history(tmp_path, seed):
    """Random subsets of one set of clips, featurised in random steps with random workers, against one fresh run."""
    rng = random.Random(seed)
    pool = [(name, i) for name in CLASSES for i in range(14)]
    data, cache_file = tmp_path / "data", tmp_path / "steps.h5"
    for name in CLASSES:
        write_clip(data / name / "00.wav", seed=CLASSES.index(name))
    for _ in range(3):
        for name, i in rng.sample(pool, rng.randint(5, 30)):
            path = data / name / f"{i:02}.wav"
            if path.exists() and i and rng.random() < 0.3:
                path.unlink()
            else:
                write_clip(path, seed=1000 * CLASSES.index(name) + i + 1, seconds=rng.choice([0.02, 0.5, 3, 6]))
        run(data, cache_file, n_jobs=rng.choice([1, 2, 3]))
    run(data, tmp_path / "fresh.h5", n_jobs=rng.choice([1, 2]))
    steps, fresh = open_cache(cache_file), open_cache(tmp_path / "fresh.h5")
    assert steps.paths == fresh.paths
    np.testing.assert_array_equal(steps.X, fresh.X)
    np.testing.assert_array_equal(steps.y, fresh.y)
    assert steps.fingerprint == fresh.fingerprint


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_slow_first_clip_does_not_hold_up_the_rest_and_changes_no_bit(data, monkeypatch, seconds):
    monkeypatch.setattr("featurize.workers.schedule.COPY_SECONDS", seconds)
    write_clip(data / "dog" / "0.flac", seed=5, seconds=60, sr=44100)
    for i in range(150):
        write_clip(data / "cat" / f"many{i:03}.wav", seed=i, seconds=0.02)
    run(data, n_jobs=2)
    run(data, data / "one.h5", n_jobs=1)
    two, one = open_cache(data / "features.h5"), open_cache(data / "one.h5")
    np.testing.assert_array_equal(two.X, one.X)
    assert two.paths == one.paths


def test_a_cache_reached_by_a_link_stays_where_the_link_leads(data, tmp_path):
    (tmp_path / "disk").mkdir()
    (data / "features.h5").symlink_to(tmp_path / "disk" / "real.h5")
    run(data)
    assert (data / "features.h5").is_symlink()
    assert len(open_cache(tmp_path / "disk" / "real.h5")) == 12


def test_float16_halves_the_file_and_stays_within_its_rounding(data):
    run(data)
    run(data, data / "half.h5", dtype="float16")
    full, half = open_cache(data / "features.h5"), open_cache(data / "half.h5")
    assert half.X.dtype == np.float16
    assert half.X.nbytes * 2 == full.X.nbytes
    assert np.abs(half.X.astype(np.float32) - full.X).max() <= 2.5e-4
    assert half.fingerprint != full.fingerprint


def test_the_needed_space_is_said_and_missing_space_is_an_error_before_any_work(data, monkeypatch):
    assert any("12 clips to compute; needs up to 786.4 kB of disk" in line for line in run(data)["said"])
    os.utime(next((data / "dog").iterdir()))
    assert any("1 clip to compute; needs up to 852.0 kB of disk" in line for line in run(data)["said"])
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 100))
    with pytest.raises(UserError, match=r"100 B free and the cache needs 786\.4 kB; make room"):
        run(data, data / "other.h5")


def test_the_plan_of_an_unchanged_folder_opens_no_clip(data, monkeypatch):
    run(data)
    opened, open_file = [], os.open

    def noted(path, *arguments, **named):
        opened.append(str(path))
        return open_file(path, *arguments, **named)

    monkeypatch.setattr(os, "open", noted)
    run(data)
    assert set(opened) == {str(data / "features.h5")}


def command(data, *arguments):
    line = [sys.executable, "-m", "featurize", str(data), *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_a_summary_or_one_json_object_and_nothing_else(data):
    first = command(data)
    assert first.returncode == 0
    assert "dog                4 clips" in first.stdout
    assert "computed 12, reused 0, removed 0, rejected 0" in first.stdout
    second = command(data, "--json")
    report = json.loads(second.stdout)
    assert {"cache", "n_clips", "n_computed", "n_reused", "n_removed", "n_per_class"} <= set(report)
    assert {"rejected", "seconds", "fingerprint"} <= set(report)
    assert report["n_per_class"] == {"dog": 4, "cat": 4, "bird": 4}
    assert second.stderr == ""


def test_errors_are_one_line_and_bad_usage_is_told_apart(data):
    failed = featurize_here(data.parent / "nowhere")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    for arguments in (["--jobs", "0"], ["--nonsense"], ["--classes", "dog,../cat"], ["--classes", "dog,dog"]):
        failed = featurize_here(data, *arguments)
        assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1), failed.stderr


def test_check_compares_random_rows_with_librosa_and_finds_a_wrong_one(data):
    run(data)
    passed = featurize_here(data, "--check", "5")
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.startswith("5 rows differ from librosa by at most")
    cache = open_cache(data / "features.h5")
    with (data / "features.h5").open("r+b") as file:
        file.seek(cache.X.offset)
        file.write(np.full(100, 0.5, "<f4").tobytes())
    failed = featurize_here(data, "--check", "12")
    assert failed.returncode == 1
    assert "dog/0.wav differs from librosa by" in failed.stderr

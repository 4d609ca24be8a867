"""evaluate: which clips a run is scored on, and when it refuses."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import soundfile

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize import build
from tests.helpers.commands import featurize
from tests.helpers.sounds import noise
from tests.helpers.tones import write_clips
from train.commands.screen import evaluate_summary
from train.score.evaluate import evaluate


def test_on_its_own_cache_the_score_is_that_of_the_fit(run: Path) -> None:
    result, record = evaluate(run, None), json.loads((run / "run.json").read_text())
    assert result.scored == "test split"
    assert json.loads(json.dumps(asdict(result.score))) == record["metrics"]


def test_a_cache_that_has_grown_is_still_scored_on_the_run_s_own_test_clips(
    run: Path, tones: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(tones, tmp_path / "data")
    shutil.copy(data / "cat" / "1s0_nohash_0.wav", data / "cat" / "new.wav")
    result = evaluate(run, featurize(data, tmp_path / "grown.h5"))
    assert (result.scored, result.n_seen) == ("test split", 0)
    assert result.score.confusion == evaluate(run).score.confusion


def test_on_another_cache_all_clips_are_scored(run: Path, tmp_path: Path) -> None:
    other = featurize(write_clips(tmp_path / "data", seed=2, n_speakers=3), tmp_path / "other.h5")
    result = evaluate(run, other)
    assert (result.scored, result.score.n, result.n_seen) == ("all clips", 18, 0)
    assert sum(map(sum, result.score.confusion)) == 18


def test_clips_that_the_run_was_trained_on_are_counted_under_whatever_name(
    run: Path, tones: Path, tmp_path: Path
) -> None:
    data = write_clips(tmp_path / "data", seed=2, n_speakers=1)
    split = (run / "split.csv").read_text().splitlines()
    trained = next(line.split(",")[0] for line in split if line.endswith(",train"))
    shutil.copy(tones / trained, data / Path(trained).parent / "renamed.wav")
    assert evaluate(run, featurize(data, tmp_path / "other.h5")).n_seen == 1


def test_long_clips_in_other_windows_than_the_run_s_are_warned_of(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_clips(tmp_path / "data", seed=2, n_speakers=1)
    soundfile.write(data / "cat" / "long.wav", noise(80_000), 16000)
    evaluate(run, build(data, tmp_path / "whole.h5").cache.file)
    assert capfd.readouterr().err == ""
    evaluate(run, build(data, tmp_path / "windows.h5", crop="segments").cache.file)
    assert f"made with --crop segments --overlap 0.5, and {run} trained with --crop middle;" in capfd.readouterr().err


def test_other_classes_or_another_order_of_them_are_refused(run: Path, tones: Path, tmp_path: Path) -> None:
    other = featurize(tones, tmp_path / "other.h5", "--classes", "cat,dog,bird")
    with pytest.raises(UserError, match=r"cat, dog, bird.*trained on dog, cat, bird"):
        evaluate(run, other)


def test_other_feature_settings_are_refused_by_name(run: Path, tones: Path, tmp_path: Path) -> None:
    other = build(tones, tmp_path / "other.h5", settings=MelSettings(hop_length=256)).cache.file
    with pytest.raises(UserError, match="hop_length 256 instead of 512"):
        evaluate(run, other)


def test_a_cache_that_has_moved_is_asked_for_and_then_scored(run: Path, tones_cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    record["cache"]["file"] = str(tmp_path / "gone" / "features.h5")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"gone/features.h5, on which .* not there any more.*evaluate .* CACHE"):
        evaluate(folder, None)
    link = tmp_path / "link.h5"
    link.symlink_to(shutil.copy(tones_cache, tmp_path / "disk.h5"))
    assert evaluate(folder, link).score.confusion == evaluate(run).score.confusion


def test_clips_that_are_all_groups_of_their_own_are_said_to_be(run: Path, tones: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for i, clip in enumerate(sorted(tones.glob("*/*.wav"))):
        (data / clip.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, data / clip.parent.name / f"a{chr(97 + i // 26)}{chr(97 + i % 26)}.wav")
    alone = evaluate(run, featurize(data, tmp_path / "alone.h5"))
    assert (alone.score.n, alone.score.n_groups) == (48, 48)
    assert "every clip counted as a group of its own" in evaluate_summary(alone)
    own = evaluate(run, None)
    assert own.score.n_groups < own.score.n
    assert "of its own" not in evaluate_summary(own)


def test_a_run_without_a_test_split_says_so(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    text = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text(text.replace(",test", ",train"))
    with pytest.raises(UserError, match="no test split"):
        evaluate(folder, None)

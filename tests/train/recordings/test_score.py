"""The score of recordings: counted by hand, and where scikit-learn has the measure, the same as its."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from tests.helpers.recordings import heard as heard_windows
from train.predict.detections import Detections
from train.recordings.score import THRESHOLDS, Heard, detections, measures, same, score

NOTHING = np.empty((0, 2))


def heard(p: list[float], dogs: list[tuple[float, float]], seconds: float = 3600.0) -> Heard:
    """Windows of a second, half a second apart, that are a dog with these probabilities, and else a cat."""
    starts = np.arange(len(p)) / 2
    dog = np.array(p)
    labels = {"dog": np.array(dogs, float).reshape(-1, 2), "cat": NOTHING}
    return Heard(seconds, np.column_stack((starts, starts + 1)), np.column_stack((dog, 1 - dog)), labels)


def test_segments_match_that_overlap_by_half_of_the_shorter() -> None:
    a = np.array([[0.0, 2.0]])
    matching = [(1, 3), (1.5, 2.5), (0.5, 0.6), (-4, 9), (-1, 1)]
    others = [(1.1, 3.1), (1.6, 2.6), (2, 3), (5, 6)]
    assert same(a, np.array(matching, float)).all()
    assert not same(a, np.array(others, float)).any()


def test_detections_are_the_regions_that_predict_writes() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        is_on = rng.random(n) < 0.5
        starts = np.arange(n) / 2
        starts[-1] -= 0.2  # as the last one ends with the recording
        windows = np.column_stack((starts, starts + 1))
        labels = ["dog" if on else "" for on in is_on]
        joiner = Detections()
        one_by_one = [(start, end, label) for (start, end), label in zip(windows.tolist(), labels, strict=True)]
        found = [region for one in heard_windows(Path("a"), one_by_one) for region in joiner.take(one)]
        expected = [one[:2] for one in found]
        np.testing.assert_allclose(detections(windows, is_on)[0].reshape(-1, 2), np.reshape(expected, (-1, 2)))


def test_what_is_counted_by_hand() -> None:
    # Detections at 0.6: 0 to 1.25 and 2.75 to 3.75 s, and the second is none at 0.8. Nobody hears the label at 10 s.
    one = heard([0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.7, 0.1], [(0, 1), (10, 11)], seconds=1800)
    found = score([one], "dog", 0, 0.6)
    assert found["events"]["n"] == 2
    assert {name: found["events"][name]["value"] for name in ("precision", "recall", "f1")} == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
    }
    assert found["false_alarms_per_hour"] == {"value": 2.0, "interval": None}
    surer = score([one], "dog", 0, 0.8)
    assert (surer["events"]["precision"]["value"], surer["false_alarms_per_hour"]["value"]) == (1.0, 0.0)
    # Recall comes to a half while precision is 1, and no further.
    assert found["events"]["average_precision"]["value"] == pytest.approx(0.5)
    # The windows from 0 and from 0.5 s are dogs, the latter by just half of the shorter.
    assert found["windows"]["n"] == 2
    assert found["windows"]["recall"]["value"] == 1
    assert found["windows"]["precision"]["value"] == pytest.approx(2 / 3)


def test_two_detections_may_find_one_event_and_one_detection_two() -> None:
    split = score([heard([0.9, 0.9, 0.1, 0.1, 0.9, 0.9], [(0, 4)])], "dog", 0, 0.5)
    joined = score([heard([0.9, 0.9, 0.9, 0.9], [(0, 1), (1.2, 2.4)])], "dog", 0, 0.5)
    for found in (split, joined):
        assert (found["events"]["precision"]["value"], found["events"]["recall"]["value"]) == (1, 1)


def test_detections_that_run_together_take_no_average_precision_away_and_add_none() -> None:
    # From the lowest threshold up, both labels are found, one of them, and both again.
    counted = np.zeros((3, 2, 4), int)
    counted[:, 1] = [(1, 1, 2, 2), (1, 1, 1, 2), (2, 2, 2, 2)]
    assert measures(counted)[:, 1, 3] == pytest.approx(1)


def test_what_there_is_nothing_of_has_no_measure() -> None:
    found = score([heard([0.9, 0.9], [(0, 1)])], "cat", 1, 0.5)
    for level in ("windows", "events"):
        assert {one["value"] for name, one in found[level].items() if name != "n"} == {None}
    assert found["false_alarms_per_hour"]["value"] == 0


def drawn(n: int, rng: np.random.Generator) -> Heard:
    """Windows that are probably dogs where there is one; probabilities are hundredths, and never of two classes."""
    p = np.round(rng.beta(2, 2, n), 2)
    p[p == 0.5] = 0.51
    on = np.flatnonzero(rng.random(len(p[::4])) < p[::4])
    return heard(p.tolist(), [(2.0 * i, 2.0 * i + 0.4) for i in on.tolist()], seconds=n / 2 + 0.5)


def test_over_windows_it_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    recordings = [drawn(200, rng) for _ in range(5)]
    truth = np.concatenate([same(one.windows, one.labels["dog"]).any(axis=1) for one in recordings])
    p = np.concatenate([one.probabilities[:, 0] for one in recordings])
    asked = np.where(p > 0.5, p, 0)  # another class is more probable otherwise
    found = score(recordings, "dog", 0, 0.7)["windows"]
    for name, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[name]["value"] == pytest.approx(measure(truth, p >= 0.7))
    # What is never detected adds its recall at the precision of all windows, which is not ours to add.
    rest = (1 - recall_score(truth, p > 0.5)) * truth.mean()
    assert found["average_precision"]["value"] == pytest.approx(average_precision_score(truth, asked) - rest)


def test_the_interval_is_that_of_recordings_drawn_again_and_again() -> None:
    rng = np.random.default_rng(2)
    recordings = [drawn(rng.integers(20, 200), rng) for _ in range(12)]
    found = score(recordings, "dog", 0, 0.6)
    alone = [score([one], "dog", 0, 0.6) for one in recordings]
    alarms = np.array([one["false_alarms_per_hour"]["value"] * r.seconds for one, r in zip(alone, recordings)])  # noqa: B905
    seconds = np.array([one.seconds for one in recordings])
    values = []
    for _ in range(4000):
        which = rng.integers(0, 12, 12)
        values.append(alarms[which].sum() / seconds[which].sum())
    low, high = found["false_alarms_per_hour"]["interval"]
    assert (low, high) == pytest.approx(np.percentile(values, (2.5, 97.5)), rel=0.06)
    assert low < found["false_alarms_per_hour"]["value"] < high
    alike = score([recordings[0]] * 4, "dog", 0, 0.6)
    assert alike["events"]["recall"]["interval"] == pytest.approx([alike["events"]["recall"]["value"]] * 2)


def test_no_other_threshold_is_better_over_events() -> None:
    recordings = [drawn(200, np.random.default_rng(seed)) for seed in range(3)]
    best = score(recordings, "dog", 0, 0.5)["best_threshold"]
    f1 = score(recordings, "dog", 0, best)["events"]["f1"]["value"]
    assert f1 >= max(score(recordings, "dog", 0, t / 50)["events"]["f1"]["value"] for t in range(50))
    # A label is heard with 0.8, and a false alarm with 0.6.
    one = heard([0.8, 0.1, 0.1, 0.1, 0.6, 0.1], [(0, 1)])
    assert score([one], "dog", 0, 0.5)["best_threshold"] == pytest.approx(0.71, abs=0.01)
    assert score([one], "cat", 1, 0.5)["best_threshold"] is None


def test_the_curve_goes_from_everything_to_nothing() -> None:
    curve = score([drawn(200, np.random.default_rng(3))], "dog", 0, 0.5)["curve"]
    assert curve["threshold"] == THRESHOLDS.tolist()
    recall = curve["windows"]["recall"]
    assert recall == sorted(recall, reverse=True)
    assert curve["windows"]["precision"][-1] is None
    assert measures(np.zeros((3, 2, 4), int)).shape == (3, 2, 4)

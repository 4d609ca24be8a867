"""The score of recordings: counted by hand, and where scikit-learn has the measure, the same as its."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from tests.helpers.recordings import heard as predicted
from train.predict.windows import Detections
from train.recordings.score import THRESHOLDS, Counts, Heard, detections, overlapping, score

NOTHING = np.empty((0, 2))


def heard(p: list[float], dogs: list[tuple[float, float]], seconds: float = 3600.0) -> Heard:
    """Windows of a second, half a second apart, that are a dog with these probabilities, and else a cat."""
    starts = np.arange(len(p)) / 2
    dog = np.array(p)
    labels = {"dog": np.array(dogs, float).reshape(-1, 2), "cat": NOTHING}
    return Heard(seconds, np.column_stack((starts, starts + 1)), np.column_stack((dog, 1 - dog)), labels)


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
        found = [region for one in predicted(Path("a"), one_by_one) for region in joiner.take(one)]
        expected = [one[:2] for one in found]
        np.testing.assert_allclose(detections(windows, is_on, 99.0)[0], np.reshape(expected, (-1, 2)))


def test_what_is_counted_by_hand() -> None:
    # Detections at 0.6: 0 to 1.25 and 2.75 to 3.75 s, and the second is none at 0.8. Nobody hears the label at 10 s.
    one = heard([0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.7, 0.1], [(0, 1), (10, 11)], seconds=1802)
    found = score([one], "dog", 0, 0.6)
    assert found.events.n == 2
    assert (found.events.precision.value, found.events.recall.value, found.events.f1.value) == (0.5, 0.5, 0.5)
    # Half an hour has no label.
    assert (found.false_alarms_per_hour.value, found.false_alarms_per_hour.interval) == (pytest.approx(2), None)
    surer = score([one], "dog", 0, 0.8)
    assert (surer.events.precision.value, surer.false_alarms_per_hour.value) == (1.0, 0.0)
    # Recall comes to a half while precision is 1, and no further.
    assert found.events.average_precision.value == pytest.approx(0.5)
    # The windows from 0 and from 0.5 s are dogs, the latter by just half of the shorter.
    assert (found.windows.n, found.windows.recall.value) == (2, 1)
    assert found.windows.precision.value == pytest.approx(2 / 3)


def test_a_detection_in_the_right_place_is_right_however_short_the_label() -> None:
    for seconds in (0.01, 0.3, 1.0):
        for middle in (2.6, 2.75, 2.9):
            label = (middle - seconds / 2, middle + seconds / 2)
            one = heard([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1], [label], seconds=60)
            found = score([one], "dog", 0, 0.5).events
            assert (found.precision.value, found.recall.value) == (1, 1), label
        late = heard([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1], [(4.5, 4.5 + seconds)], seconds=60)
        assert score([late], "dog", 0, 0.5).events.precision.value == 0
    past_the_end = heard([0.9] * 5, [(3.1, 3.2)], seconds=3)
    assert score([past_the_end], "dog", 0, 0.5).events.recall.value == 0
    first = heard([0.9, 0.1, 0.1], [(0, 0.1)], seconds=2)
    assert score([first], "dog", 0, 0.5).events.recall.value == 1


def test_two_detections_may_find_one_event_and_one_detection_two() -> None:
    split = score([heard([0.9, 0.9, 0.1, 0.1, 0.9, 0.9], [(0, 4)])], "dog", 0, 0.5)
    joined = score([heard([0.9, 0.9, 0.9, 0.9], [(0, 1), (1.2, 2.4)])], "dog", 0, 0.5)
    for found in (split, joined):
        assert (found.events.precision.value, found.events.recall.value) == (1, 1)


def test_many_detections_of_one_event_do_not_outweigh_a_false_alarm() -> None:
    p = np.where(np.arange(60) % 2, 0.1, 0.9)
    found = score([heard([*p.tolist(), 0.1, 0.9], [(0, 30)])], "dog", 0, 0.5)
    assert found.events.recall.value == 1
    assert found.events.precision.value == 0.5


def barking(share: float, rng: np.random.Generator, sure: float, elsewhere: float) -> Heard:
    """Ten minutes with a bark of two seconds now and then; so probable are dogs there and elsewhere."""
    n = round(600 * share / 2)
    gaps = rng.dirichlet(np.ones(n + 1)) * (600 - 2 * n)
    starts = np.cumsum(gaps[:-1]) + 2 * np.arange(n)
    labels = np.column_stack((starts, starts + 2))
    one = heard([0.0] * 1199, labels.tolist(), 600)
    is_dog = overlapping(one.windows, labels).any(axis=1)
    dog = np.where(is_dog, sure, elsewhere)
    return Heard(600, one.windows, np.column_stack((dog, 1 - dog)), one.labels)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5])
def test_dog_for_every_window_is_worth_no_more_than_the_share_of_dogs(share: float) -> None:
    recordings = [barking(share, np.random.default_rng(seed), 0.9, 0.9) for seed in range(8)]
    found = score(recordings, "dog", 0, 0.5)
    assert found.events.precision.value <= share + 0.05
    assert found.events.average_precision.value <= share + 0.05
    assert found.events.f1.value <= 2 * share / (1 + share) + 0.05
    # One that lasts all the time is as many as events fit in.
    assert found.false_alarms_per_hour.value == pytest.approx(3600 / 2, rel=0.1)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5])
def test_the_best_threshold_is_never_one_at_which_everything_is_a_dog(share: float) -> None:
    recordings = [barking(share, np.random.default_rng(seed), 0.9, 0.6) for seed in range(4)]
    found = score(recordings, "dog", 0, 0.5)
    assert found.best_threshold > 0.6
    assert score(recordings, "dog", 0, found.best_threshold).events.f1.value > 0.9
    assert found.events.f1.value < 0.75


def test_false_alarms_are_counted_by_the_hour_that_is_not_labelled() -> None:
    quiet = heard([0.1, 0.9, 0.1], [], seconds=3600)
    full = heard([0.1, 0.9, 0.1], [(100, 1900), (1800, 2800)], seconds=3600)
    assert score([quiet], "dog", 0, 0.5).false_alarms_per_hour.value == 1
    assert score([full], "dog", 0, 0.5).false_alarms_per_hour.value == pytest.approx(4)
    assert score([heard([0.9], [(0, 1)], seconds=1)], "dog", 0, 0.5).false_alarms_per_hour.value is None


def test_detections_that_run_together_take_no_average_precision_away_and_add_none() -> None:
    # From the lowest threshold up, both labels are found, one of them, and both again.
    counted = Counts(found=np.array([2, 1, 2]), false=np.array([0, 0, 0]), there=np.array([2, 2, 2]))
    assert counted.average_precision() == pytest.approx(1)


def test_what_there_is_nothing_of_has_no_measure() -> None:
    found = score([heard([0.9, 0.9], [(0, 1)])], "cat", 1, 0.5)
    for level in (found.windows, found.events):
        measures = (level.precision, level.recall, level.f1, level.average_precision)
        assert {one.value for one in measures} == {None}
    assert found.false_alarms_per_hour.value == 0


def drawn(n: int, rng: np.random.Generator) -> Heard:
    """Windows that are probably dogs where there is one; probabilities are hundredths, and never of two classes."""
    p = np.round(rng.beta(2, 2, n), 2)
    p[p == 0.5] = 0.51
    on = np.flatnonzero(rng.random(len(p[::4])) < p[::4])
    return heard(p.tolist(), [(2.0 * i, 2.0 * i + 0.6) for i in on.tolist()], seconds=n / 2 + 0.5)


def test_over_windows_it_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    recordings = [drawn(200, rng) for _ in range(5)]
    truth = np.concatenate([overlapping(one.windows, one.labels["dog"]).any(axis=1) for one in recordings])
    p = np.concatenate([one.probabilities[:, 0] for one in recordings])
    asked = np.where(p > 0.5, p, 0)  # another class is more probable otherwise
    found = score(recordings, "dog", 0, 0.7).windows
    assert found.precision.value == pytest.approx(precision_score(truth, p >= 0.7))
    assert found.recall.value == pytest.approx(recall_score(truth, p >= 0.7))
    assert found.f1.value == pytest.approx(f1_score(truth, p >= 0.7))
    # sklearn adds the recall of windows that are never detected, at the precision of all windows; ours does not.
    rest = (1 - recall_score(truth, p > 0.5)) * truth.mean()
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, asked) - rest)


def test_the_interval_is_that_of_recordings_drawn_again_and_again() -> None:
    rng = np.random.default_rng(2)
    recordings = [drawn(rng.integers(20, 200), rng) for _ in range(12)]
    found = score(recordings, "dog", 0, 0.6).false_alarms_per_hour
    alone = [score([one], "dog", 0, 0.6).false_alarms_per_hour.value for one in recordings]
    unlabelled = np.array([one.seconds - 0.6 * len(one.labels["dog"]) for one in recordings])
    values = []
    for _ in range(4000):
        which = rng.integers(0, 12, 12)
        values.append((np.array(alone) * unlabelled)[which].sum() / unlabelled[which].sum())
    assert found.interval == pytest.approx(np.percentile(values, (2.5, 97.5)), rel=0.06)
    assert found.interval[0] < found.value < found.interval[1]
    alike = score([recordings[0]] * 4, "dog", 0, 0.6).events.recall
    assert alike.interval == pytest.approx([alike.value] * 2)


def test_no_other_threshold_is_better_over_events() -> None:
    recordings = [drawn(200, np.random.default_rng(seed)) for seed in range(3)]
    best = score(recordings, "dog", 0, 0.5).best_threshold
    f1 = score(recordings, "dog", 0, best).events.f1.value
    assert f1 >= max(score(recordings, "dog", 0, t / 50).events.f1.value for t in range(50))
    # A label is heard with 0.8, and a false alarm with 0.6.
    one = heard([0.8, 0.1, 0.1, 0.1, 0.6, 0.1], [(0, 1)])
    assert score([one], "dog", 0, 0.5).best_threshold == pytest.approx(0.71, abs=0.01)
    assert score([one], "cat", 1, 0.5).best_threshold is None


def test_the_curve_goes_from_everything_to_nothing() -> None:
    curve = score([drawn(200, np.random.default_rng(3))], "dog", 0, 0.5).curve
    assert curve.threshold == THRESHOLDS.tolist()
    assert curve.windows.recall == sorted(curve.windows.recall, reverse=True)
    assert curve.windows.precision[-1] is None
    assert len(curve.events.precision) == len(curve.threshold)

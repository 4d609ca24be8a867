"""Which detections are right: counted by hand, by sampling, and by the program of those who defined it."""

import warnings

import numpy as np
import pytest

from train.recordings.score import covered, detections, labelled, match, overlapping

NOTHING = np.empty((0, 2))


def spans(*ends: tuple[float, float]) -> np.ndarray:
    return np.array(ends, float).reshape(-1, 2)


def drawn(n: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Spans of whole milliseconds that do not touch each other."""
    ends = np.sort(rng.choice(round(1000 * seconds), 2 * n, replace=False)) / 1000
    return ends.reshape(-1, 2)


def test_a_detection_is_right_if_labels_cover_half_of_it_and_a_label_found_if_right_detections_cover_half() -> None:
    labels = spans((0, 2), (10, 11))
    for detection, is_right, found in (
        ((0, 2), True, 1),
        ((0, 4), True, 1),
        ((0, 4.1), False, 0),
        ((1, 2), True, 1),
        ((1.1, 2), True, 0),
        ((0, 11), False, 0),
        ((10.5, 11.5), True, 1),
    ):
        right, of_label = match(spans(detection), labels)
        assert (right.tolist(), of_label.sum()) == ([is_right], found), detection
    right, of_label = match(spans((0, 0.6), (1.2, 1.8), (10.4, 14)), labels)
    assert (right.tolist(), of_label.tolist()) == ([True, True, False], [True, False])
    assert [len(one) for one in match(NOTHING, labels)] == [0, 2]
    assert match(labels, NOTHING)[0].tolist() == [False, False]


def test_what_is_covered_is_what_sampling_at_a_millisecond_finds() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 3, 20):
        some, others = drawn(5, 20, rng), np.concatenate((drawn(n, 20, rng), drawn(n, 20, rng)))
        middles = (np.arange(20_000) + 0.5) / 1000
        is_covered = ((others[:, :1] <= middles) & (middles < others[:, 1:])).any(axis=0)
        expected = [is_covered[round(1000 * a) : round(1000 * b)].sum() / 1000 for a, b in some]
        np.testing.assert_allclose(covered(some, others), expected, atol=1e-9)


def test_the_authors_program_counts_the_same() -> None:
    import pandas
    from psds_eval import PSDSEval

    columns = ["filename", "onset", "offset", "event_label"]
    n_matched = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        labels, found = drawn(12, 60, rng), drawn(rng.integers(1, 25), 60, rng)
        # Some detections are labels with other ends, or there would hardly be a right one.
        near = labels[::2] + rng.uniform(-0.3, 0.3, (6, 2)).round(3)
        near = near[near[:, 1] > near[:, 0]]
        found = np.concatenate((found[covered(found, near) == 0], near))
        tables = [
            pandas.DataFrame([("a.wav", start, end, "dog") for start, end in one.tolist()], columns=columns)
            for one in (labels, found)
        ]
        durations = pandas.DataFrame([("a.wav", 60.0)], columns=["filename", "duration"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pandas, and 0 / 0 where nothing is found
            theirs = PSDSEval(
                dtc_threshold=0.5, gtc_threshold=0.5, cttc_threshold=0.3, ground_truth=tables[0], metadata=durations
            )
            f1 = theirs.compute_macro_f_score(tables[1])[0]
        is_right, is_found = match(found, labels)
        n_found, n_false = is_found.sum(), (~is_right).sum()
        ours = 2 * n_found / (n_found + n_false + len(labels))
        assert ours == pytest.approx(0 if np.isnan(f1) else f1), seed
        n_matched += n_found
    assert n_matched > 30


@pytest.mark.parametrize(("seconds", "n_parts"), [(0.5, 1), (1.9, 1), (2.0, 2), (3.5, 3), (600.0, 600)])
def test_a_detection_as_long_as_several_events_is_judged_in_equal_parts(seconds: float, n_parts: int) -> None:
    windows = spans((0, 0.1), (0.1, 0.1 + seconds), (0.1 + seconds, 1.0 + seconds))
    found, members = detections(windows, np.array([False, True, False]), 1.0)
    assert len(found) == n_parts
    np.testing.assert_allclose(found[1:, 0], found[:-1, 1])
    np.testing.assert_allclose(found[:, 1] - found[:, 0], seconds / n_parts)
    assert (found[0, 0], found[-1, 1]) == pytest.approx((0.1, 0.1 + seconds))
    assert members == [slice(1, 2)] * n_parts


def test_no_window_of_a_class_is_no_detection() -> None:
    assert detections(spans((0, 1), (1, 2)), np.array([False, False]), 1.0)[0].shape == (0, 2)
    assert detections(NOTHING, np.zeros(0, bool), 1.0)[0].shape == (0, 2)


def test_spans_overlap_that_share_half_of_the_shorter() -> None:
    assert overlapping(spans((0, 2)), spans((1, 3), (1.5, 2.5), (0.5, 0.6), (-4, 9), (-1, 1))).all()
    assert not overlapping(spans((0, 2)), spans((1.1, 3.1), (1.6, 2.6), (2, 3), (5, 6))).any()


def test_a_window_is_labelled_if_it_overlaps_any_label_so() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 30):
        starts = np.arange(200) * 0.425
        windows = np.column_stack((starts, starts + 0.85))
        labels = np.concatenate((drawn(n, 90, rng), drawn(n, 90, rng)))
        np.testing.assert_array_equal(labelled(windows, labels), overlapping(windows, labels).any(axis=1))

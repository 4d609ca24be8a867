"""A temperature undoes what made a network too modest or too sure, and thresholds are those of best F1."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from train.models.calibration import best_thresholds, calibrated, fit_temperature
from train.score.metrics import calibration


def drawn(n: int, seed: int = 0, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that mean what they say, and labels that are drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, n_classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return p.astype(np.float32), labels


@pytest.mark.parametrize("distortion", [0.4, 1.0, 3.0])
def test_it_undoes_a_distortion_of_known_size(distortion: float) -> None:
    p, labels = drawn(40_000)
    distorted = calibrated(p, distortion)
    found = fit_temperature(distorted, labels)
    assert found == pytest.approx(1 / distortion, rel=0.03)
    np.testing.assert_allclose(calibrated(distorted, found), p, atol=0.02)


def test_the_error_of_calibration_on_other_clips_becomes_small() -> None:
    p, labels = drawn(4000)
    temperature = fit_temperature(calibrated(p, 0.3), labels)
    others, truth = drawn(4000, seed=1)

    def error(claimed: np.ndarray) -> float:
        right = claimed.argmax(axis=1) == truth
        return float(calibration(claimed.max(axis=1), right, np.arange(len(truth))).error)

    assert error(calibrated(others, 0.3)) > 0.1
    assert error(calibrated(calibrated(others, 0.3), temperature)) < 0.02


def test_it_is_a_softmax_of_logits_that_keeps_the_order_and_1_keeps_every_bit() -> None:
    p, _ = drawn(100)
    for temperature in (0.2, 5.0):
        logits = np.log(p.astype(float)) / temperature
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(calibrated(p, temperature), expected, rtol=1e-5)
        np.testing.assert_array_equal(calibrated(p, temperature).argsort(axis=1), p.argsort(axis=1))
    assert calibrated(p, 1.0) is p


def test_right_about_a_handful_of_clips_is_not_always_right() -> None:
    p, labels = np.tile(np.array([[0.9, 0.06, 0.04]], np.float32), (9, 1)), np.zeros(9, int)
    assert 0.9 < calibrated(p, fit_temperature(p, labels))[0, 0] < 0.97
    sure = np.tile(np.array([[1, 0, 0]], np.float32), (9, 1))
    assert fit_temperature(sure, labels) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("n_clips", [3, 6, 18])
def test_calibration_on_few_clips_does_no_harm_on_others_even_where_none_was_needed(
    n_clips: int, n_classes: int
) -> None:
    before, after = [], []
    for seed in range(40):
        distortion = float(np.exp(np.random.default_rng(seed).normal(0, 0.25)))
        p, labels = drawn(n_clips, seed, n_classes)
        temperature = fit_temperature(calibrated(p, distortion), labels)
        others, truth = drawn(2000, 1000 + seed, n_classes)
        rows = np.arange(len(truth))
        before.append(-np.log(calibrated(others, distortion)[rows, truth]).mean())
        after.append(-np.log(calibrated(calibrated(others, distortion), temperature)[rows, truth]).mean())
    assert np.mean(after) < np.mean(before) + 0.02
    assert np.max(np.array(after) - before) < 0.3


def test_no_other_threshold_has_a_better_f1() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 300).astype(np.float32)
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in p.astype(float)])
    is_class = np.eye(3, dtype=bool)[labels]
    found = best_thresholds(is_class, p, ("a", "b", "c"))
    for i, name in enumerate("abc"):
        taken = p[:, i, None] >= np.linspace(0, 0.99, 400)
        best = (2 * (is_class[:, i, None] & taken).sum(axis=0) / (is_class[:, i].sum() + taken.sum(axis=0))).max()
        assert f1_score(is_class[:, i], p[:, i] >= found[name]) >= best


def test_a_threshold_is_half_way_between_the_sides_and_a_class_without_clips_has_none() -> None:
    is_class = np.array([[True, False], [True, False], [False, False]])
    assert best_thresholds(is_class, np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]]), ("dog", "cat")) == {
        "dog": pytest.approx(0.5)
    }

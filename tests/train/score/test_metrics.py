"""Scores: scikit-learn's and SciPy's numbers are the oracle."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn import metrics

from train.score.metrics import accuracy_interval, are_few, score

CLASS_NAMES = ("dog", "cat", "bird", "cow")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_every_number_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    found = score(true, predicted, CLASS_NAMES, np.arange(len(pairs)))
    labels = list(range(4))
    assert found.confusion == metrics.confusion_matrix(true, predicted, labels=labels).tolist()
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, predicted))
    expected = metrics.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for i, name in enumerate(CLASS_NAMES):
        assert list(astuple(found.per_class[name])) == pytest.approx([column[i] for column in expected])
    assert found.macro_f1 == pytest.approx(expected[2].mean())


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (67, 75), (10, 10), (495, 1000)])
def test_the_interval_of_independent_clips_is_wilsons(right: int, n: int) -> None:
    correct = np.arange(n) < right
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert accuracy_interval(correct.astype(float), np.arange(n)) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n_right", [0, 1, 31, 40])
def test_copies_of_a_clip_in_one_group_tell_no_more_than_the_clip(n_right: int) -> None:
    correct = (np.arange(40) < n_right).astype(float)
    once = accuracy_interval(correct, np.arange(40))
    copied = accuracy_interval(np.repeat(correct, 5), np.repeat(np.arange(40), 5))
    assert copied == pytest.approx(once)


def test_one_group_tells_nothing_of_another() -> None:
    assert accuracy_interval(np.array([1.0, 0.0, 1.0]), np.zeros(3, int)) == (0, 1)
    assert accuracy_interval(np.ones(3), np.zeros(3, int)) == (0, 1)


@pytest.mark.parametrize("n_groups", [2, 3, 5, 9])
def test_the_interval_of_few_groups_covers_the_truth_as_often_as_it_says(n_groups: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(n_groups), 100)
    covered = 0
    for _ in range(600):
        difficulty = rng.beta(8, 2, n_groups)  # 0.8 on average
        correct = (rng.random(len(groups)) < difficulty[groups]).astype(float)
        low, high = accuracy_interval(correct, groups)
        covered += low <= 0.8 <= high
    assert covered / 600 >= 0.92


def test_the_interval_of_few_groups_is_wide_with_students_quantile() -> None:
    """Three speakers of 100 clips each: the standard error of their mean, by the textbook."""
    shares = np.array([0.70, 0.78, 0.86])
    correct = np.concatenate([np.arange(100) < round(100 * share) for share in shares]).astype(float)
    low, high = accuracy_interval(correct, np.repeat(np.arange(3), 100))
    error = shares.std(ddof=1) / np.sqrt(3)
    p, z = shares.mean(), student.ppf(0.975, 2)
    n = p * (1 - p) / error**2
    roots = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])  # |p - x| = z sqrt(x (1 - x) / n)
    assert (low, high) == pytest.approx(sorted(roots))
    assert are_few(3, 300)
    assert not are_few(10, 300)
    assert not are_few(3, 3)


def test_the_interval_covers_the_truth_as_often_as_it_says_when_groups_err_together() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    covered = naive = 0
    for _ in range(400):
        # Each speaker has a difficulty of their own; the mean accuracy over speakers is 0.8.
        difficulty = rng.beta(4, 1, 60)
        correct = (rng.random(300) < difficulty[groups]).astype(float)
        low, high = accuracy_interval(correct, groups)
        covered += low <= 0.8 <= high
        low, high = accuracy_interval(correct, np.arange(300))
        naive += low <= 0.8 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert naive < covered

"""best_thresholds(): no other threshold has a better F1, and where several are as good it is far from either side."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from train.score.thresholds import best_thresholds


def test_no_other_threshold_is_better() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 300).astype(np.float32)
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in p.astype(float)])
    is_class = np.eye(3, dtype=bool)[labels]
    found = best_thresholds(is_class, p, ("a", "b", "c"))
    for i, name in enumerate("abc"):
        best = max(f1_score(is_class[:, i], p[:, i] >= threshold) for threshold in np.linspace(0, 0.99, 400))
        assert f1_score(is_class[:, i], p[:, i] >= found[name]) >= best


def test_it_is_half_way_between_the_sides_and_a_class_of_which_there_is_nothing_has_none() -> None:
    is_class = np.array([[True, False], [True, False], [False, False]])
    assert best_thresholds(is_class, np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]]), ("dog", "cat")) == {
        "dog": pytest.approx(0.5)
    }

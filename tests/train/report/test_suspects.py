"""suspects: the labels that were turned are found, the most confidently disputed first, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.made_runs import made_crossval, made_fit
from tests.helpers.tables import table
from train.__main__ import app
from train.report.mistakes import find_suspects, verdict
from train.report.report import write_report
from train.runs.tables import Predictions, read_predictions


def by_the_paper(tested: Predictions) -> list[int]:
    """Off the diagonal of the confident joint, equation 1 of Northcutt et al., without those that are right."""
    p, labels = tested.mean, tested.labels.tolist()
    n_classes = p.shape[1]
    mean = {j: np.mean([p[i, j] for i, label in enumerate(labels) if label == j]) for j in set(labels)}
    found = []
    for i, label in enumerate(labels):
        confident = [j for j in range(n_classes) if j in mean and p[i, j] >= mean[j]]
        if confident and max(confident, key=lambda j: p[i, j]) != label != p[i].argmax():
            found.append(i)
    return sorted(found, key=lambda i: p[i, labels[i]] - p[i].max())


def test_labels_that_were_turned_are_found() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(3), 40)
    p = 0.02 + rng.dirichlet(np.ones(3), 120) * 0.3
    p[np.arange(120), true] += 1
    p /= p.sum(axis=1, keepdims=True)
    labels = true.copy()
    turned = rng.choice(120, 9, replace=False)
    labels[turned] = (labels[turned] + 1) % 3
    tested = Predictions([f"{i}" for i in range(120)], labels, np.arange(120), np.ones(120, int), p.argmax(axis=1), p)
    found = find_suspects(tested)
    assert set(found.tolist()) <= set(turned.tolist())
    assert len(found) >= 4
    assert found.tolist() == by_the_paper(tested)
    margins = p[found, labels[found]] - p[found].max(axis=1)
    assert (np.diff(margins) >= 0).all()


@pytest.mark.parametrize("make", [made_fit, made_crossval])
def test_the_table_has_them_and_the_report_says_so(make: object, tones_cache: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "run", tones_cache, mistaken=["dog/1s0_nohash_0.wav"])  # type: ignore[operator]
    out = tmp_path / "suspects.csv"
    done = CliRunner().invoke(app, ["suspects", str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    tested = read_predictions(folder, ("dog", "cat", "bird"))
    rows = table(out)
    assert [row["path"] for row in rows] == [tested.paths[i] for i in by_the_paper(tested)]
    assert rows[0] | {"p_sounds_like": "", "p_label": ""} == {
        "path": "dog/1s0_nohash_0.wav", "label": "dog", "sounds_like": "cat", "p_sounds_like": "", "p_label": "",
    }  # fmt: skip
    assert float(rows[0]["p_sounds_like"]) > 0.5 > float(rows[0]["p_label"])
    text = write_report(folder).read_text(encoding="utf-8")
    assert text.count("Suspect: the label may be wrong") == len(rows)
    before = out.read_bytes()
    assert "exists already" in str(CliRunner().invoke(app, ["suspects", str(folder), "--out", str(out)]).exception)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("p_other", "p_label", "said"),
    [
        (0.97, 0.01, "the clip clearly sounds like bird (97.0 %), not like dog (1.0 %)"),
        (0.49, 0.31, "the clip sounds more like bird (49.0 %) than like dog (31.0 %)"),
        (0.91, 0.09, "the clip sounds more like bird (91.0 %) than like dog (9.0 %)"),
    ],
)
def test_a_suspect_sounds_clearly_like_another_class_only_if_its_probabilities_are_clear(
    p_other: float, p_label: float, said: str
) -> None:
    assert verdict("bird", p_other, "dog", p_label) == said


def test_the_report_gives_both_probabilities_of_every_suspect(tones_cache: Path, tmp_path: Path) -> None:
    folder = made_fit(tmp_path / "run", tones_cache, mistaken=["dog/1s0_nohash_0.wav"])
    tested = read_predictions(folder, ("dog", "cat", "bird"))
    text = write_report(folder).read_text(encoding="utf-8")
    for clip in find_suspects(tested).tolist():
        p = tested.mean[clip]
        assert f"({100 * p.max():.1f} %)" in text
        assert f"({100 * p[tested.labels[clip]]:.1f} %)" in text
    assert "clearly" not in text or (tested.mean.max(axis=1) >= 0.9).any()

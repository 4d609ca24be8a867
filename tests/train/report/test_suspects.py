"""suspects: the labels that were turned are found, the most confidently disputed first, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.made_runs import made_crossval, made_fit
from tests.helpers.tables import table
from train.__main__ import app
from train.report.mistakes import find_suspects
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

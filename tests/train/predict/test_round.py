"""Labels that predict writes are labels that are read: they go round and end where they were."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.labels.annotation import Region
from cache.labels.read import read_labels
from tests.helpers.tones import tone
from train.predict.deliver import deliver
from train.predict.formats import LABELS
from train.predict.predict import Kind, predict_files
from train.predict.regions import regions
from train.predict.sources import find_sources
from train.runs.directory import open_run


@pytest.mark.parametrize("format", ["audacity", "raven"])
def test_twice_round_is_where_it_began(format: str, run: Path, tmp_path: Path) -> None:
    y = np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2.3), np.zeros(16000), tone("bird", 3.1)))
    soundfile.write(tmp_path / "yard.wav", y, 16000)
    opened, sources = open_run(run), find_sources([tmp_path])
    found = list(predict_files(opened, sources))
    expected = list(regions(one for one in found if one.kind is Kind.WINDOW))
    assert {region.label for region in expected} == {"dog", "cat", "bird"}
    said: list[str] = []
    out = tmp_path / f"yard.wav{LABELS[format].ENDING}"
    deliver(opened, sources, lambda _: found, format, out, single=True)
    once = read_labels([out], tmp_path, None, said.append)
    band = (0.0, 8000.0)
    again = [Region(one.start, one.end, one.label, 1.0) for one in once]
    out.write_text("\n".join(LABELS[format].lines("yard.wav", again, band)) + "\n")
    twice = read_labels([out], tmp_path, None, said.append)
    for labels in (once, twice):
        assert [one.label for one in labels] == [one.label for one in expected]
        times = [(one.start, one.end) for one in labels]
        np.testing.assert_allclose(times, [one[:2] for one in expected], atol=1e-6)
        assert {one.file for one in labels} == {str(tmp_path / "yard.wav")}
        assert all(a.end <= b.start for a, b in pairwise(labels))
    assert said == []

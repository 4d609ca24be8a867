"""Labels that predict writes are labels that are read: they go round and end where they were."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.labels.annotation import Region
from cache.labels.read import read_labels
from tests.helpers.tones import tone
from train.predict.deliver import Output, deliver
from train.predict.predict import predict
from train.predict.recordings import LABELS, find_sources
from train.predict.sinks import label_text
from train.predict.windows import Detections
from train.runs.directory import open_run


@pytest.mark.parametrize("format", LABELS)
def test_twice_round_is_where_it_began(format: str, run: Path, tmp_path: Path) -> None:
    y = np.concatenate((tone("dog", 2), np.zeros(32000), tone("cat", 2.3), np.zeros(16000), tone("bird", 3.1)))
    soundfile.write(tmp_path / "yard.wav", y, 16000)
    opened, sources = open_run(run), find_sources([tmp_path])
    found = list(predict(opened, sources))
    joiner = Detections()
    expected = [region for one in found for region in joiner.take(one)]
    assert {region.label for region in expected} == {"dog", "cat", "bird"}
    out = tmp_path / f"yard.wav{LABELS[format].ENDING}"
    deliver(opened, sources, lambda _: found, Output(format, out, single=True))
    first = read_labels([out], tmp_path)
    band = (0.0, 8000.0)
    again = [Region(one.start, one.end, one.label, 1.0) for one in first.annotations]
    out.write_text(label_text(format, "yard.wav", again, band))
    second = read_labels([out], tmp_path)
    for labels in (first.annotations, second.annotations):
        assert [one.label for one in labels] == [one.label for one in expected]
        times = [(one.start, one.end) for one in labels]
        np.testing.assert_allclose(times, [one[:2] for one in expected], atol=1e-6)
        assert {one.file for one in labels} == {str(tmp_path / "yard.wav")}
        assert all(a.end <= b.start for a, b in pairwise(labels))
    assert first.problems == second.problems == []

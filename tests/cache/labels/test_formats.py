"""Labels that are written are read back, whatever the classes are called."""

from pathlib import Path

import pytest

from cache.labels.annotation import LabelFormat, Region, told
from cache.labels.read import read_labels
from train.predict.recordings import LABELS

NAMES = ["1", "0.5", "Class", "Probability", "nan", "NA", "dog, cat", "a;b", 'say "hi"', '"hi"', '"x', '"hi" there']
NAMES += ["=1+1", "-", "#1", "\\n", "käuzchen", "日本", "train", "True", "1e5", "Selection", "x.wav", "a b  c"]


@pytest.mark.parametrize("kind", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("recording", ["night.wav", '"now".wav', "a, b.flac", "1.5.wav"])
def test_labels_that_are_written_are_read_back(kind: LabelFormat, recording: str, tmp_path: Path) -> None:
    (tmp_path / recording).touch()
    for names in (*([name] for name in NAMES), NAMES):
        regions = [Region(i, i + 0.5, name, 0.8052) for i, name in enumerate(names)]
        lines = [kind.line(i, one, recording, (0.0, 8000.0)) for i, one in enumerate(regions, 1)]
        header = [kind.HEADER] if kind.HEADER else []
        file = tmp_path / f"{recording}{kind.ENDING}"
        file.write_text("\n".join([*header, *lines, ""]), encoding="utf-8")
        labels = read_labels([file], tmp_path)
        assert [(one.start, one.end, one.label, one.channel) for one in labels.annotations] == [
            (one.start, one.end, one.label, 0) for one in regions
        ]
        assert told(labels.problems) == []

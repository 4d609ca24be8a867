"""The clips that an export is checked on: read again, unless they are not the ones of the cache any more."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize import build
from train.exporters.check import checked_clips


def test_a_window_of_a_long_clip_is_read_again_as_a_clip_of_its_own(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, 160000).astype(np.float32)
    (tmp_path / "dog").mkdir()
    soundfile.write(tmp_path / "dog/a.wav", y, 16000, subtype="FLOAT")
    cache = build(tmp_path, classes="dog", crop="segments").cache
    clips = checked_clips(cache, MelSettings(), tmp_path)
    assert [clip.path for clip in clips] == cache.paths
    for start, clip, x in zip((0, 32768, 65536, 94464), clips, cache.X, strict=True):
        np.testing.assert_array_equal(clip.given, y[start : start + 65536])
        np.testing.assert_array_equal(clip.features, x)
    soundfile.write(tmp_path / "dog/a.wav", y[::-1], 16000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"none of 4 clips of .* is unchanged"):
        checked_clips(cache, MelSettings(), tmp_path)

"""Versions of the format: what a cache of this version holds is settled, and a later version can take it in."""

from dataclasses import dataclass

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.file.columns import COLUMNS, REJECTED
from cache.file.header import ATTRIBUTES, FORMAT_VERSION, SINCE, Header, lacking
from cache.file.settings import SETTINGS, MelSettings
from featurize import build

# The names that came with each version since 3; a name may be that of a column and of an attribute.
NAMES = {
    3: "amin background center class_names crc32 data_dir duration end feature_version fingerprint fmax fmin format"
    " format format_version hop_length htk inode label_column label_length max_per_class mono mtime_ns n_fft n_frames"
    " n_frames n_mels norm pad_mode path power ref rejected_inode rejected_mtime_ns rejected_path rejected_reason"
    " rejected_size remark res_type sha256 size sr sr start tables top_db versions widen window",
    4: "class_members corrected end_column file_column point start_column",
    5: "clip clip_duration crop n_windows overlap",
}


@dataclass(frozen=True)
class LaterSettings(MelSettings):
    """Those of a program that also knows how strongly high frequencies are raised."""

    preemphasis: float = 0.0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A clip of each class, with its cache."""
    folder = tmp_path_factory.mktemp("few") / "data"
    for name in ("dog", "cat", "bird"):
        (folder / name).mkdir(parents=True)
        soundfile.write(folder / name / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2000), 16000)
    build(folder, folder / "features.h5")
    return folder


@pytest.fixture
def later(monkeypatch):
    """Make this the program of the next version, which has a setting and a column more."""
    monkeypatch.setattr("cache.file.header.FORMAT_VERSION", FORMAT_VERSION + 1)
    defaults = Header.__init__.__defaults__
    monkeypatch.setattr(Header.__init__, "__defaults__", (*defaults[:-1], FORMAT_VERSION + 1))
    monkeypatch.setattr("cache.file.header.ATTRIBUTES", (*ATTRIBUTES, "preemphasis"))
    monkeypatch.setitem(SETTINGS, "preemphasis", float)
    monkeypatch.setattr("featurize.features.profiles.MelSettings", LaterSettings)
    monkeypatch.setattr("cache.file.header.MelSettings", LaterSettings)
    monkeypatch.setitem(COLUMNS, "loudness", "<f4")
    monkeypatch.setitem(SINCE, FORMAT_VERSION + 1, {"preemphasis": 0.0, "loudness": 0.0})


@pytest.mark.parametrize("version", range(3, FORMAT_VERSION + 1))
def test_caches_of_a_version_hold_what_they_always_held(version):
    found = [name for name in (*COLUMNS, *REJECTED, *ATTRIBUTES) if name not in lacking(version)]
    expected = " ".join(NAMES.get(since, "") for since in range(3, version + 1)).split()
    assert sorted(found) == sorted(expected), (
        f"there are caches of format version {version}: for a name that is new raise FORMAT_VERSION, say in SINCE what"
        " earlier caches have in its place, and list it here under the new version"
    )


def test_a_cache_from_before_a_setting_keeps_its_fingerprint_and_its_rows(data, tmp_path, later):
    file = tmp_path / "features.h5"
    file.write_bytes((data / "features.h5").read_bytes())
    old = open_cache(file)
    assert old.settings["preemphasis"] == 0.0
    assert old.columns["loudness"].tolist() == [0.0] * len(old)
    result = build(data, file, settings=LaterSettings(), notify=lambda line: None)
    assert (result.n_computed, result.n_reused) == (0, len(old))
    new = open_cache(file)
    assert (new.header.format_version, new.fingerprint) == (FORMAT_VERSION + 1, old.fingerprint)
    assert new.settings == old.settings
    assert new.columns["loudness"].dtype == np.dtype("<f4")


def test_another_value_of_a_new_setting_is_another_cache(data, tmp_path, later):
    file = tmp_path / "features.h5"
    file.write_bytes((data / "features.h5").read_bytes())
    old = open_cache(file)
    told: list[str] = []
    result = build(data, file, settings=LaterSettings(preemphasis=0.5), notify=told.append)
    assert any("preemphasis is 0.5, the cache's was 0.0" in line for line in told)
    assert (result.n_computed, result.n_reused) == (len(old), 0)
    assert open_cache(file).fingerprint == result.cache.fingerprint != old.fingerprint

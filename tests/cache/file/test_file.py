"""The file itself, as other programs see it: plain HDF5 whose rows map, with everything written down in it."""

import hashlib
import json
import zlib

import h5py
import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.file.columns import COLUMNS, REJECTED
from cache.file.header import ATTRIBUTES
from featurize import build
from tests.helpers.commands import cache_here


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with good clips, a bad one and a name beyond ASCII, and its cache."""
    data = tmp_path_factory.mktemp("made") / "data"
    rng = np.random.default_rng(0)
    for name, sr in (("dog", 16000), ("cat", 8000), ("bird", 44100)):
        (data / name).mkdir(parents=True)
        for i in range(3):
            soundfile.write(data / name / f"ä{i}.wav", rng.normal(0, 0.1, sr * (i + 1)), sr)
    (data / "bird" / "bad.wav").write_text("no audio")
    build(data, data / "features.h5")
    return data


def test_rows_map_at_their_offset_contiguous_and_uncompressed(made):
    with h5py.File(made / "features.h5") as h5:
        X = h5["X"]
        assert (X.shape, X.dtype, X.chunks, X.compression) == ((9, 128, 128, 1), np.dtype("<f4"), None, None)
        mapped = np.memmap(made / "features.h5", "<f4", "r", X.id.get_offset(), X.shape)
        np.testing.assert_array_equal(mapped, X[...])
        assert h5["y"].chunks is None
        assert X.id.get_offset() % 4096 == 0


def test_an_open_cache_copies_nothing(made):
    cache = open_cache(made / "features.h5")
    assert isinstance(cache.X, np.memmap)
    assert not cache.X.flags.writeable
    for column in cache.columns.values():
        assert isinstance(column, np.memmap)


def test_the_columns_say_what_the_files_are(made):
    with h5py.File(made / "features.h5") as h5:
        columns = {name: h5[name][...] for name in COLUMNS}
        paths = h5["path"].asstr()[...]
        X, y = h5["X"][...], h5["y"][...]
    assert list(paths) == [f"{name}/ä{i}.wav" for name in ("dog", "cat", "bird") for i in range(3)]
    assert y.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for i, path in enumerate(paths):
        file = made / path
        info = soundfile.info(file)
        assert columns["size"][i] == file.stat().st_size
        assert columns["mtime_ns"][i] == file.stat().st_mtime_ns
        assert columns["sha256"][i].decode() == hashlib.sha256(file.read_bytes()).hexdigest()
        assert columns["duration"][i] == pytest.approx(info.duration)
        assert columns["sr"][i] == info.samplerate
        assert columns["format"][i].decode() == f"{info.format}/{info.subtype}"
        assert columns["n_frames"][i] == 1 + round(info.duration * 16000) // 512
        assert columns["crc32"][i] == zlib.crc32(X[i])


def test_the_attributes_hold_every_setting_by_its_librosa_name(made):
    with h5py.File(made / "features.h5") as h5:
        attributes = dict(h5.attrs)
    assert set(attributes) == {*ATTRIBUTES}
    assert list(attributes["class_names"]) == ["dog", "cat", "bird"]
    assert [attributes[name] for name in ("sr", "n_fft", "hop_length", "n_mels")] == [16000, 1024, 512, 128]
    assert len(attributes["fingerprint"]) == 64
    assert {"numpy", "llvmlite", "soxr", "soundfile", "h5py"} == set(json.loads(attributes["versions"]))


def test_the_rejected_clips_are_in_it_with_their_reasons(made):
    with h5py.File(made / "features.h5") as h5:
        assert [h5[name].shape for name in REJECTED] == [(1,)] * len(REJECTED)
        assert h5["rejected_path"].asstr()[0] == "bird/bad.wav"
        assert "libsndfile" in h5["rejected_reason"].asstr()[0]


def test_the_fingerprint_follows_content_and_settings_only(made, tmp_path):
    first = open_cache(made / "features.h5").fingerprint
    build(made, tmp_path / "again.h5", n_jobs=2)
    assert open_cache(tmp_path / "again.h5").fingerprint == first
    build(made, tmp_path / "fewer.h5", max_per_class=2)
    assert open_cache(tmp_path / "fewer.h5").fingerprint != first
    build(made, tmp_path / "half.h5", dtype="float16")
    assert open_cache(tmp_path / "half.h5").fingerprint != first


def test_info_fits_a_screen_and_says_what_is_in_it(made):
    shown = cache_here("info", made / "features.h5")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) <= 24
    for words in ("(9, 128, 128, 1) float32", "dog          3 clips", "8000 Hz (3)", "bird/bad.wav: it is not audio"):
        assert words in shown.stdout
    report = json.loads(cache_here("info", made / "features.h5", "--json").stdout)
    assert report["n_per_class"] == {"dog": 3, "cat": 3, "bird": 3}
    assert report["settings"]["n_fft"] == 1024


def test_verify_passes_a_whole_file_and_names_the_clip_of_a_damaged_row(made, tmp_path):
    assert cache_here("verify", made / "features.h5").stdout.endswith("all 9 rows are whole\n")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes((made / "features.h5").read_bytes())
    with damaged.open("r+b") as file:
        file.seek(open_cache(damaged).X.offset + 4 * 65536 + 1000)
        file.write(b"\x01")
    failed = cache_here("verify", damaged)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert "1 of 9 rows are damaged, the first is row 4 (cat/ä1.wav)" in failed.stderr

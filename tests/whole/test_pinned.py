"""Bytes that must not change: rows, digests and the fingerprint of fixed clips, for caches that people have already.

A change of these numbers means that every cache is computed again, so it comes with a new FEATURE_VERSION. The samples
are drawn as whole numbers and stand at 16 kHz, so that no library rounds them.
"""

import hashlib
import zlib

import numpy as np
import soundfile

from cache import open_cache
from cache.file.columns import Rejected, Row
from cache.file.journal import append, close_journal, open_journal
from tests.helpers.commands import featurize
from train.runs.record import Record, TrainedOn, write_record
from train.runs.results import Subset

# The sha256 of X, of the fingerprint's parts that belong to rows, and of the fingerprint itself.
WHOLE_CLIPS = {
    "X": "904dfd2261869faacc77c501e5d8d962b1b4866cc82557c2fa7dec65eefad108",
    "sha256": "fead1025fa27f9152077d2e6bd85f87efce80e001a1c83640735a8058f220d47",
    "fingerprint": "324834425a178afd0755611aa2db16577fc5fa7863d4f8206453ff6171b17a60",
}
LABELLED = {
    "X": "47624d6e272c6b8aa6ca9821be291ece99ae62fb4ba8bc5bee362fc44ae937a1",
    "sha256": "5ac414ea4da44f69fca94367fba74cfea4184acd07d2bffdfff5d9f758eeed19",
    "fingerprint": "3757fa85359c959a0c5916020c9f918dc2b41b83c35aba7a0454aa8e0f529799",
}


def write(file, n_samples, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    level = 1 << (3 + seed % 10)
    y = np.random.default_rng(seed).integers(-level, level, n_samples)
    soundfile.write(file, np.cumsum(y).clip(-32768, 32767).astype(np.int16), 16000)


def digests(file):
    cache = open_cache(file)
    return {
        "X": hashlib.sha256(cache.X.tobytes()).hexdigest(),
        "sha256": hashlib.sha256(b"".join(cache.columns["sha256"].tolist())).hexdigest(),
        "fingerprint": cache.fingerprint,
    }


def test_the_rows_of_fixed_clips_are_those_of_the_first_release(tmp_path):
    for seed, (name, n_samples) in enumerate([("dog/short", 4000), ("cat/long", 90000), ("bird/fills", 65536)]):
        write(tmp_path / f"{name}.wav", n_samples, seed)
    assert digests(featurize(tmp_path, tmp_path / "features.h5")) == WHOLE_CLIPS


JOURNAL = b"""\
{"dtype": "float32", "feature_version": 2, "partial_version": 1, "settings": {"sr": 16000}}
54244648 {"path": "dog/a.wav", "size": 100, "mtime_ns": 5, "sha256": "ab", "n_frames": 3, "duration": 0.5, "sr": 8000, \
"format": "WAV/PCM_16", "crc32": 3617033963, "slot": 0}
e2f08f45 {"path": "dog/b.wav#1.000000-2.500000", "size": 7, "mtime_ns": 6, "sha256": "cd", "n_frames": 9, \
"duration": 1.5, "sr": 44100, "format": "FLAC/PCM_24", "crc32": 3617033963, "remark": "\\u00e4", "inode": 12, \
"start": 1.0, "end": 2.5, "slot": 1}
68454bc7 {"path": "cat/bad.wav", "size": 1, "mtime_ns": 2, "reason": "it is empty", "inode": 3}
"""


def test_the_journal_of_fixed_rows_is_that_of_the_first_release(tmp_path):
    header = {"settings": {"sr": 16000}, "feature_version": 2, "dtype": "float32"}
    journal, _ = open_journal(tmp_path / "f.h5", header, np.dtype("<f4"))
    X = np.zeros((2, 128, 128, 1), "<f4")
    crc = zlib.crc32(X[0])
    whole = Row("dog/a.wav", 100, 5, "ab", 3, 0.5, 8000, "WAV/PCM_16", crc)
    segment = Row("dog/b.wav#1.000000-2.500000", 7, 6, "cd", 9, 1.5, 44100, "FLAC/PCM_24", crc, "ä", 12, 1.0, 2.5)
    append(journal, [whole, segment], X, [Rejected("cat/bad.wav", 1, 2, "it is empty", 3)])
    close_journal(journal)
    assert (tmp_path / "f.h5.partial.journal").read_bytes() == JOURNAL


RUN_JSON = """\
{
  "run_format": 1,
  "state": "unfinished",
  "command": "fit",
  "started": "2026-03-04T05:06:07+00:00",
  "class_names": [
    "dog",
    "b\\u00e4r"
  ],
  "settings": {
    "sr": 16000,
    "fmax": 8000.0
  },
  "feature_version": 2,
  "cache": {
    "file": "/data/features.h5",
    "fingerprint": "ab",
    "n_clips": 3,
    "dtype": "float32",
    "data_dir": ".",
    "versions": {
      "numpy": "2.0"
    }
  },
  "options": {
    "model": "compact",
    "epochs": 3,
    "group_by": null
  },
  "split": {
    "train": {
      "n": 2,
      "n_groups": 1,
      "n_per_class": {
        "dog": 1,
        "b\\u00e4r": 1
      }
    }
  },
  "clip_duration": 0.5
}
"""


def test_the_record_of_fixed_values_is_that_of_the_first_release(tmp_path):
    record = Record(
        state="unfinished",
        command="fit",
        started="2026-03-04T05:06:07+00:00",
        class_names=["dog", "bär"],
        settings={"sr": 16000, "fmax": 8000.0},
        feature_version=2,
        cache=TrainedOn("/data/features.h5", "ab", 3, "float32", ".", {"numpy": "2.0"}),
        options={"model": "compact", "epochs": 3, "group_by": None},
        split={"train": Subset(2, 1, {"dog": 1, "bär": 1})},
        clip_duration=0.5,
    )
    write_record(tmp_path, record)
    assert (tmp_path / "run.json").read_text() == RUN_JSON


def test_the_rows_of_fixed_labels_are_those_of_the_first_release(tmp_path):
    write(tmp_path / "night.wav", 160000, 5)
    (tmp_path / "night.txt").write_text("0.5\t1.25\towl\n2\t2.1\tfrog\n4.000001\t9\towl\n")
    made = featurize(tmp_path, tmp_path / "features.h5", "--labels", str(tmp_path / "night.txt"), "--background", "1")
    assert digests(made) == LABELLED

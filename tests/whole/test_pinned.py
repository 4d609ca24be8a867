"""Bytes that must not change: rows, digests and the fingerprint of fixed clips, for caches that people have already.

A change of these numbers means that every cache is computed again, so it comes with a new FEATURE_VERSION. The samples
are drawn as whole numbers and stand at 16 kHz, so that no library rounds them.
"""

import hashlib

import numpy as np
import soundfile

from cache import open_cache
from tests.helpers.commands import featurize

# Of X, of the fingerprint's parts that belong to rows, and of the fingerprint itself.
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


def test_the_rows_of_fixed_labels_are_those_of_the_first_release(tmp_path):
    write(tmp_path / "night.wav", 160000, 5)
    (tmp_path / "night.txt").write_text("0.5\t1.25\towl\n2\t2.1\tfrog\n4.000001\t9\towl\n")
    made = featurize(tmp_path, tmp_path / "features.h5", "--labels", str(tmp_path / "night.txt"), "--background", "1")
    assert digests(made) == LABELLED

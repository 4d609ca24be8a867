"""An open cache in other people's code: in a notebook, in another process, in the loops of other frameworks."""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import CacheError, open_cache
from featurize import build
from tests import ROOT

SNIPPETS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "cache/README.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def mine(tones_cache: Path, tmp_path: Path) -> Path:
    """A copy of the cache, to change."""
    return Path(shutil.copy(tones_cache, tmp_path / "features.h5"))


def test_a_cache_shows_itself_in_a_line(tones_cache: Path) -> None:
    assert repr(open_cache(tones_cache)) == f"<Cache {str(tones_cache)!r}: 48 clips of 3 classes, float32>"


def test_a_cache_reads_as_a_sequence_of_rows_with_their_labels(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    assert len(cache) == 48
    for rows in (0, -1, slice(3, 9), [5, 2, 2], np.arange(48) % 7 == 0):
        x, y = cache[rows]
        np.testing.assert_array_equal(x, cache.X[rows])
        np.testing.assert_array_equal(y, cache.y[rows])
        assert type(x) is type(y) is np.ndarray
        assert x.flags.writeable
        assert not np.shares_memory(x, cache.X)
    with pytest.raises(IndexError):
        cache[48]
    assert len(list(cache)) == 48


def test_a_pickle_of_a_cache_holds_its_path_and_no_row(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    pickled = pickle.dumps(open_cache("features.h5"))
    assert len(pickled) < 500
    code = (
        "import pickle, sys; cache = pickle.load(sys.stdin.buffer); print(cache.fingerprint, float(cache[3][0].sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True, cwd=ROOT)
    cache = open_cache(mine)
    assert done.stdout.decode().split() == [cache.fingerprint, str(float(cache.X[3].sum()))]


def test_a_pickle_of_a_cache_that_has_changed_or_gone_is_refused(mine: Path, tmp_path: Path) -> None:
    pickled = pickle.dumps(open_cache(mine))
    mine.rename(tmp_path / "moved.h5")
    with pytest.raises(CacheError, match="there is no such cache"):
        pickle.loads(pickled)
    (tmp_path / "data/dog").mkdir(parents=True)
    soundfile.write(tmp_path / "data/dog/a.wav", [0.1, -0.2] * 400, 16000)
    build(tmp_path / "data", mine, classes=["dog"])
    with pytest.raises(CacheError, match="has changed since the cache was pickled"):
        pickle.loads(pickled)


def test_what_is_said_of_clips_is_at_hand(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        (tmp_path / "data" / name).mkdir(parents=True)
    tone = np.sin(np.arange(16000))
    for path, y in {"dog/a": tone, "dog/b": tone, "cat/c": tone, "cat/d": tone / 2, "dog/quiet": 0 * tone}.items():
        soundfile.write(tmp_path / f"data/{path}.wav", y, 16000)
    cut = tmp_path / "data/cat/d.wav"
    cut.write_bytes(cut.read_bytes()[:-10000])
    cache = build(tmp_path / "data", classes=["dog", "cat"], notify=lambda _: None).cache
    assert cache.conflicts == [["dog/a.wav", "dog/b.wav", "cat/c.wav"]]
    assert cache.duplicates == []
    assert (cache.n_duplicates, cache.n_cut_short, cache.silent) == (1, 1, ["dog/quiet.wav"])
    assert [path for path, _ in cache.remarks] == ["cat/d.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "snippet"), [("numpy", 0), ("torch", 1), ("tensorflow", 2)])
def test_the_loops_of_the_readme_see_every_row_once(mine: Path, tmp_path: Path, module: str, snippet: int) -> None:
    pytest.importorskip(module)
    (tmp_path / "data").mkdir()
    mine.rename(tmp_path / "data/features.h5")
    ours = "\n".join(re.sub(r"^( *)\.\.\.$", r"\1seen.append((x, y))", line) for line in SNIPPETS[snippet].splitlines())
    check = (
        "    import numpy as np\n"
        "    X, labels = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*seen))\n"
        "    assert X.shape == cache.X.shape and labels.shape == cache.y.shape, (X.shape, labels.shape)\n"
        "    order = {row.tobytes(): i for i, row in enumerate(cache.X)}\n"
        "    rows = [order[row.tobytes()] for row in X]\n"
        "    assert sorted(rows) == list(range(len(cache)))\n"
        "    assert (labels == cache.y[rows]).all()\n"
    )
    script = tmp_path / "loop.py"
    script.write_text(f"seen = []\n{ours}\nif __name__ == '__main__':\n{check}")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr

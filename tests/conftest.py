"""The fixtures of several files: clips, their cache, made by the command itself, and a run; and the order of files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from cache.shared.cli import be_quiet
from tests import ROOT
from tests.helpers.commands import featurize
from tests.helpers.tiny import FEW_TREES, OF_FIT, build_tiny
from tests.helpers.tones import write_clips
from train import fit
from train.models import recipes as models
from train.score import baselines

# Files that take longest, the longest first: they are begun first, so that no core is left with one at the end, and
# their tests are marked slow. Those that mostly wait stand between those that mostly compute.
SLOW_FILES = (
    "featurize/workers/test_dask.py",
    "train/exporters/test_export.py",
    "train/models/test_inference.py",
    "whole/test_stop.py",
    "whole/test_crash.py",
    "train/report/test_page.py",
    "train/review/test_page.py",
    "train/fitting/test_fit_dask.py",
    "whole/test_train_command.py",
    "train/fitting/test_crossval.py",
    "train/review/test_findings_page.py",
    "train/models/test_recipes.py",
    "cache/look/test_plot.py",
    "train/report/test_report.py",
    "whole/test_readme.py",
    "train/fitting/test_fit.py",
    "cache/file/test_bad_caches.py",
    "train/fitting/test_loop.py",
    "train/models/test_fast_path.py",
    "featurize/audio/test_odd_audio.py",
    "featurize/update/test_update.py",
    "train/runs/test_links.py",
    "train/fitting/test_windows.py",
    "whole/test_range.py",
    "featurize/audio/test_fuzz.py",
    "whole/test_round.py",
    "whole/test_synthesize.py",
    "cache/file/test_container.py",
    "train/predict/test_listen.py",
    "train/fitting/test_sweep.py",
    "train/fitting/test_worker.py",
    "train/predict/test_deliver.py",
    "train/predict/test_as_scored.py",
    "train/models/test_nearest.py",
    "train/backend/test_optim.py",
)


RANK = {ROOT / "tests" / name: i for i, name in enumerate(SLOW_FILES)}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no slow file where slow tests are not wanted: it takes as long as many of the others."""
    return True if config.option.markexpr == "not slow" and collection_path in RANK else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    assert [file for file in RANK if not file.exists()] == []
    for item in items:
        if item.path in RANK:
            item.add_marker("slow")
    items.sort(key=lambda item: RANK.get(item.path, len(RANK)))


@pytest.fixture(autouse=True)
def aloud() -> Iterator[None]:
    """Let a command that a test runs here with --quiet keep nothing from the tests behind it."""
    yield
    be_quiet(False)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder of all processes that run these tests at the same time."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Have the first process that asks make it for all."""
    path.parent.mkdir(exist_ok=True)
    with FileLock(path.parent.with_suffix(f".{path.name}.lock")):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def tones(common: Path) -> Path:
    """48 tones of three pitches by 8 speakers; treat it as read-only."""
    return made_once(common / "tones" / "data", lambda data: write_clips(data, seed=1))


@pytest.fixture(scope="session")
def tones_cache(tones: Path) -> Path:
    """The cache of `tones`; treat it as read-only."""
    return made_once(tones.parent / "features.h5", lambda file: featurize(tones, file))


@pytest.fixture(scope="session", autouse=True)
def few_trees() -> int:
    """Grow few of the baselines' trees, and return how many all are."""
    n_trees, baselines.N_TREES = baselines.N_TREES, FEW_TREES
    return n_trees


@pytest.fixture(scope="module")
def all_trees(few_trees: int) -> Iterator[None]:
    """Grow as many as outside of tests, in a file that is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "N_TREES", few_trees)
        yield


@pytest.fixture(scope="session")
def tiny() -> str:
    """The name of a model that trains in no time, with everything that has a state: dropout and batch statistics."""
    models.RECIPES["tiny"] = models.Recipe(build_tiny, epochs=3)
    return "tiny"


@pytest.fixture(scope="session")
def run(tiny: str, tones_cache: Path, common: Path) -> Path:
    """A finished run of `tiny` on the tones; treat it as read-only."""
    return made_once(common / "runs" / "run", lambda folder: fit(tones_cache, folder, **OF_FIT))

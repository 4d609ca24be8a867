"""Splits and groups: what belongs together stays together, every class is everywhere, the seed decides the rest."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.shared.errors import UserError
from train.dataset.splits import SPLITS, clip_groups, split_clips

CLASS_NAMES = ("dog", "cat", "bird")


def digests(contents: list[object]) -> np.ndarray:
    return np.array([str(content).encode() for content in contents])


def groups_of(paths: list[str], pattern: str | None = None) -> list[int]:
    return clip_groups(paths, digests(list(range(len(paths)))), pattern).tolist()


def test_clips_of_one_speaker_share_a_group_in_whatever_class() -> None:
    a, b, c, d = groups_of(["dog/ann_nohash_0.wav", "cat/ann_nohash_12.wav", "dog/bob_nohash_0.wav", "dog/ann.wav"])
    assert a == b
    assert len({a, c, d}) == 3


def test_clips_of_one_esc50_recording_share_a_group() -> None:
    a, b, c = groups_of(["dog/1-100032-A-0.wav", "cat/3-100032-B-5.ogg", "dog/1-100038-A-0.wav"])
    assert a == b != c


def test_other_clips_are_groups_of_their_own_even_when_they_share_a_file_name() -> None:
    assert len(set(groups_of(["dog/1.wav", "cat/1.wav", "dog/2.wav"]))) == 3


def test_clips_of_equal_content_share_a_group_whatever_their_names() -> None:
    groups = clip_groups(["dog/a.wav", "cat/b.wav", "cat/c.wav"], digests(["same", "other", "same"]))
    assert groups[0] == groups[2] != groups[1]


def test_groups_that_share_a_clip_are_one() -> None:
    # ann and bob share a recording, bob and eve another one: all three stay on one side.
    paths = [
        "x/ann_nohash_0.wav",
        "x/bob_nohash_0.wav",
        "x/bob_nohash_1.wav",
        "x/eve_nohash_0.wav",
        "x/sue_nohash_0.wav",
    ]
    groups = clip_groups(paths, digests([1, 1, 2, 2, 3]))
    assert len(set(groups[:4].tolist())) == 1
    assert groups[4] != groups[0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25))
def test_groups_are_the_connected_components_of_names_and_contents(pairs: list[tuple[int, int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, contents = zip(*pairs, strict=True)
    edges = coo_array((np.ones(len(pairs)), (names, np.array(contents) + 13)), shape=(26, 26))
    expected = connected_components(edges, directed=False)[1][list(names)]
    found = clip_groups([f"x/{name}_nohash_{i}.wav" for i, name in enumerate(names)], digests(list(contents)))
    assert (
        len(set(zip(expected.tolist(), found.tolist(), strict=True))) == len(set(expected)) == len(set(found.tolist()))
    )


def test_group_by_takes_what_its_group_captures() -> None:
    a, b, c = groups_of(["dog/day1_x.wav", "cat/day1_y.wav", "cat/day2_x.wav"], r"(day\d)")
    assert a == b != c


def test_a_clip_that_group_by_does_not_match_is_a_group_of_its_own() -> None:
    assert len(set(groups_of(["dog/day1.wav", "dog/x.wav", "dog/y.wav"], r"(day\d)"))) == 3


@pytest.mark.parametrize(
    ("pattern", "complaint"), [("(", "regular expression"), ("a", "exactly one"), ("(zz)", "none")]
)
def test_an_unusable_group_by_is_refused(pattern: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        groups_of(["dog/a.wav"], pattern)


@st.composite
def grouped_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Clips of three classes in groups of 1 to 6, of one class or mixed; at least 12 groups a class."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_mixed = draw(st.booleans())
    labels, groups = [], []
    for group in range(36 + draw(st.integers(0, 60))):
        for _ in range(rng.integers(1, 7)):
            labels.append(int(rng.integers(3)) if is_mixed and rng.random() < 0.3 else group % 3)
            groups.append(group)
    return np.array(labels), np.array(groups)


@settings(max_examples=100, deadline=None)
@given(grouped_labels(), st.sampled_from([(0.15, 0.15), (0.2, 0.0), (0.0, 0.3), (0.1, 0.4)]), st.integers(0, 99))
def test_a_group_never_sits_on_two_sides_and_every_side_holds_its_share_of_every_class(
    clips: tuple[np.ndarray, np.ndarray], shares: tuple[float, float], seed: int
) -> None:
    labels, groups = clips
    side = split_clips(labels, groups, CLASS_NAMES, *shares, seed)
    for group in np.unique(groups):
        assert len(set(side[groups == group].tolist())) == 1
    for label in range(3):
        n = np.count_nonzero(labels == label)
        for split, share in enumerate((1 - sum(shares), *shares)):
            found = np.count_nonzero((labels == label) & (side == split))
            assert abs(found - share * n) <= 7, (SPLITS[split], label, found, share * n)
            assert (found > 0) == (share > 0)


def test_single_clips_are_split_to_the_nearest_clip() -> None:
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    side = split_clips(labels, np.arange(200), CLASS_NAMES, 0.15, 0.1, seed=3)
    assert [np.bincount(side[labels == label]).tolist() for label in range(3)] == [[75, 15, 10], [45, 9, 6], [30, 6, 4]]


def test_the_seed_decides_the_split() -> None:
    labels, groups = np.arange(90) % 3, np.arange(90) // 2
    one, same, other = (split_clips(labels, groups, CLASS_NAMES, 0.15, 0.15, seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_large_groups_do_not_all_end_in_training() -> None:
    # Groups of 8 and of 2 in equal number: a test split of only small groups would be another population.
    groups = np.repeat(np.arange(60), np.tile([8, 2], 30))
    labels = groups // 2 % 3
    in_test = [split_clips(labels, groups, CLASS_NAMES, 0.0, 0.3, seed) == 2 for seed in range(10)]
    sizes = np.concatenate([np.bincount(groups)[np.unique(groups[rows])] for rows in in_test])
    assert 0.2 < (sizes == 8).mean() < 0.8


def test_the_smallest_set_that_can_be_split_is_split() -> None:
    labels, groups = np.repeat([0, 1, 2], 3), np.arange(9)
    side = split_clips(labels, groups, CLASS_NAMES, 0.15, 0.15, seed=0)
    assert all(sorted(side[labels == label].tolist()) == [0, 1, 2] for label in range(3))


def test_a_split_that_cannot_be_made_says_so_with_the_counts() -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2] * 10)
    groups = np.array([*range(20), *[20] * 5, *[21] * 5])
    with pytest.raises(UserError, match=re.escape("dog 10 in 10, cat 10 in 10, bird 10 in 2")):
        split_clips(labels, groups, CLASS_NAMES, 0.15, 0.15, seed=0)
    side = split_clips(labels, groups, CLASS_NAMES, 0.0, 0.15, seed=0)
    assert set(side[labels == 2].tolist()) == {0, 2}


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.2), (-0.1, 0.1), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="--val"):
        split_clips(np.arange(9) % 3, np.arange(9), CLASS_NAMES, *shares, seed=0)

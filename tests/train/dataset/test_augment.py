"""Augmentation keeps what the features promise, whatever it changes."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cache import open_cache
from cache.shared.errors import UserError
from train.dataset.augment import Augmentation, augment, overlay
from train.dataset.rows import Batches
from train.report import preview

AMOUNTS = [field for field in fields(Augmentation) if field.name != "range_db"]
OFF = Augmentation(**{field.name: type(field.default)(0) for field in AMOUNTS})


def clips(seed: int, n_frames: np.ndarray, n_columns: int) -> np.ndarray:
    """Random spectrograms as the cache holds them: from 0 to 1 in the clip's frames, 0 in the padding."""
    X = np.random.default_rng(seed).random((len(n_frames), 128, n_columns, 1), np.float32)
    X *= (np.arange(n_columns) < n_frames[:, None])[:, None, :, None]
    X[:, 0, 0], X[:, 1, 0] = 0, 1
    return X


def some_clips(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    n_frames = np.array([1, 7, 32, 100, 128, 1250])
    return clips(seed, n_frames, 128), n_frames


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_frames=arrays(np.int64, st.integers(1, 6), elements=st.integers(1, 3000)),
    n_columns=st.sampled_from([8, 32, 128]),
    strength=st.floats(0, 3),
)
def test_values_stay_in_range_and_padding_stays_padding(
    seed: int, n_frames: np.ndarray, n_columns: int, strength: float
) -> None:
    usual = Augmentation()
    more = {
        name: getattr(usual, name) * strength
        for name in ("time_stretch", "time_shift", "mel_shift", "equalizer", "noise", "gain", "mel_mask", "time_mask")
    }
    X = clips(seed % 1000, n_frames, n_columns)
    before = X.copy()
    varied = augment(X, n_frames, np.random.default_rng(seed), replace(usual, **more))
    assert varied.shape == X.shape
    assert varied.dtype == np.float32
    assert np.isfinite(varied).all()
    assert varied.min() >= 0
    assert varied.max() <= 1
    padding = np.arange(n_columns) >= n_frames[:, None]
    assert not varied[..., 0].transpose(0, 2, 1)[padding].any()
    assert np.array_equal(X, before), "the rows of the cache are not the augmentation's to change"


def test_silence_does_not_become_something_that_is_no_number() -> None:
    n_frames = np.array([5, 128])
    varied = augment(np.zeros((2, 128, 128, 1), np.float32), n_frames, np.random.default_rng(0), Augmentation())
    assert np.isfinite(varied).all()


def test_the_same_seed_varies_alike_and_another_one_differently() -> None:
    X, n_frames = some_clips()
    one, same, other = (augment(X, n_frames, np.random.default_rng(seed), Augmentation()) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_with_everything_switched_off_clips_pass_unchanged() -> None:
    X, n_frames = some_clips()
    np.testing.assert_allclose(augment(X, n_frames, np.random.default_rng(0), OFF), X, atol=1e-6)


def test_a_shift_in_time_moves_the_clip_and_nothing_else() -> None:
    X, _ = some_clips()
    X = X[4:5].repeat(20, axis=0)
    moved = augment(X, np.full(20, 128), np.random.default_rng(0), replace(OFF, time_shift=0.25))
    for clip, original in zip(moved[..., 0], X[..., 0], strict=True):
        shown = np.flatnonzero(clip.any(axis=0))
        # The centre of gravity of what is left tells how far it went; in between it is numpy's linear interpolation.
        errors = []
        for shift in np.linspace(-32, 32, 6401):
            source = shown[1:-1] + shift
            inside = (source >= 0) & (source <= 127)
            if inside.sum() > 0.7 * 128 - 2:
                expected = np.interp(source[inside], np.arange(128), original[40])
                errors.append(np.abs(expected - clip[40, shown[1:-1][inside]]).max())
        assert min(errors) < 0.05


def test_noise_fills_gaps_and_leaves_the_loudest_where_it_is() -> None:
    X = np.zeros((50, 128, 64, 1), np.float32)
    X[:, 60:64, 30:34] = 1
    noisy = augment(X, np.full(50, 64), np.random.default_rng(0), replace(OFF, noise=0.5, noise_share=1.0))
    assert (noisy.reshape(50, -1).argmax(axis=1) // 64 // 4 == 15).all()
    assert np.median(noisy) > 0.02


def test_batches_vary_with_seed_epoch_and_place_and_only_in_training(tones_cache: Path) -> None:
    from train.dataset.rows import Batches

    cache = open_cache(tones_cache)
    rows = np.arange(len(cache))
    n_frames = cache.columns["n_frames"]

    def batch(seed: int, epoch: int) -> np.ndarray:
        batches = Batches(cache.X, cache.y, rows, 16, augmentation=Augmentation(), n_frames=n_frames)
        batches.shuffle(seed, epoch)
        return np.stack([batches[0][0], batches[1][0]])

    assert np.array_equal(batch(3, 1), batch(3, 1))
    assert not np.array_equal(batch(3, 1), batch(3, 2))
    assert not np.array_equal(batch(3, 1), batch(4, 1))
    plain = Batches(cache.X, cache.y, rows, 16)
    assert np.array_equal(plain[1][0], cache.X[16:32])


def test_two_views_show_the_clips_of_a_batch_in_their_order_each_varied_in_another_way(tones_cache: Path) -> None:
    from train.dataset.rows import Batches

    cache = open_cache(tones_cache)
    rows, n_frames = np.arange(len(cache)), cache.columns["n_frames"]
    X, y = Batches(cache.X, cache.y, rows, 16, n_views=2)[1]
    np.testing.assert_array_equal(X, np.concatenate([cache.X[16:32]] * 2))
    varied, labels = Batches(cache.X, cache.y, rows, 16, None, Augmentation(), n_frames, n_views=2)[1]
    np.testing.assert_array_equal(labels, y)
    assert not any(np.array_equal(first, second) for first, second in zip(varied[:16], varied[16:], strict=True))


@pytest.mark.slow
def test_the_preview_draws_clips_of_every_class(tones_cache: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    assert preview.draw_preview(tones_cache, tmp_path / "sheet.png", "compact", seed=0) == 6
    assert imread(tmp_path / "sheet.png").std() > 0.1


@pytest.mark.slow
def test_the_preview_is_the_same_for_the_same_seed(
    tones_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "N_CLIPS_PER_CLASS", 1)
    monkeypatch.setattr(preview, "N_VARIATIONS", 1)
    for name in ("one.png", "other.png"):
        assert preview.draw_preview(tones_cache, tmp_path / name, "compact", seed=0) == 3
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_the_preview_says_in_a_line_what_it_cannot_do(tones_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to preview"):
        preview.draw_preview(tones_cache, tmp_path / "sheet.png", "baseline", seed=0)
    with pytest.raises(UserError, match=r"\.png, \.svg or \.pdf"):
        preview.draw_preview(tones_cache, tmp_path / "sheet.doc", "compact", seed=0)


def test_a_background_is_heard_where_the_clip_is_quiet_and_nowhere_louder_than_both() -> None:
    rng = np.random.default_rng(0)
    n_frames, noise_frames = np.full(200, 40), np.array([25, 64])
    X, noise = clips(1, n_frames, 64), 0.8 * clips(2, noise_frames, 64)
    heard = overlay(X, n_frames, noise, noise_frames, rng, Augmentation())
    changed = (heard != X).any(axis=(1, 2, 3))
    assert 0.35 < changed.mean() < 0.65, "about half of the clips"
    assert not heard[:, :, 40:].any(), "padding stays padding"
    assert (heard >= X).all()
    assert heard.max() <= 1 + 10 * np.log10(2) / 80 + 1e-6, "3 dB, when both are as loud"
    always = overlay(X, n_frames, noise, noise_frames, rng, Augmentation(background=0.0, background_share=1.0))
    quiet = (X[:, :, :40] < 0.1).nonzero()
    assert (always[:, :, :40] - X[:, :, :40])[quiet].mean() > 0.2


@pytest.mark.parametrize("range_db", [80.0, 60.0, 40.0])
def test_levels_are_decibels_of_the_range_of_the_cache(range_db: float) -> None:
    # Twice the energy is 3 dB more, however many decibels a level of 1 stands for.
    X, frames = np.full((1, 128, 8, 1), 0.5, np.float32), np.array([8])
    alike = replace(OFF, background_share=1.0, range_db=range_db)
    both = overlay(X, frames, X, frames, np.random.default_rng(0), alike)
    np.testing.assert_allclose(both, 0.5 + 10 * np.log10(2) / range_db, rtol=1e-5)


def test_only_clips_of_other_classes_hear_the_background_and_only_that_of_training() -> None:
    n = 12
    X = np.zeros((n, 128, 16, 1), np.float32)
    X[:, 30, :] = 1
    X[8:, 90, :] = 0.9  # the backgrounds: the last two are not among the training rows
    X[10:, 110, :] = 0.9
    y, rows = np.eye(2, dtype=np.float32)[[0] * 8 + [1] * 4], np.arange(10)
    settings_of_noise = replace(OFF, background=0.0, background_share=1.0)
    batches = Batches(X, y, rows, 10, 16, settings_of_noise, np.full(n, 16), rows[8:])
    batch, labels = batches[0]
    assert (batch[:8, 90] > 0.8).all()
    assert np.array_equal(labels, y[:10])
    assert (batch[:, 110] < 0.1).all()
    without = Batches(X, y, rows, 10, 16, settings_of_noise, np.full(n, 16))[0][0]
    assert (without[:8, 90] < 0.1).all()
    np.testing.assert_array_equal(batch[8:10], without[8:10])

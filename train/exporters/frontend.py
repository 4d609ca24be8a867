"""FrontEnd: featurize's steps from the waveform to the features as a Keras layer, for a model that stands alone.

Only operations that ONNX and LiteRT have too, so the Fourier transform is two products of matrices.
"""

import math

import numpy as np

from cache.file.settings import MelSettings
from cache.shared.types import Float32
from featurize.features.reference import mel_filterbank
from train.backend.keras import keras, tf
from train.backend.types import Tensor


class FrontEnd(keras.layers.Layer):  # type: ignore[misc]
    """A layer that computes, a batch at a time, `featurize.features.row.write_spectrogram` to within 1e-3.

    It takes mono waveforms of one length at `settings.sr`, shape (n, n_samples) with any n_samples, to normalised mel
    spectrograms, shape (n, n_mels, n_frames, 1) in [0, 1].
    """

    def __init__(self, settings: MelSettings) -> None:
        super().__init__(name="front_end")
        self.settings = settings
        self.inner, self.outer, self.filterbank = transform_matrices(settings)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the spectrograms."""
        return (input_shape[0], self.settings.n_mels, self.settings.n_frames, 1)

    def call(self, waveform: Tensor) -> Tensor:
        """Return the spectrograms of waveforms."""
        n_frames = 1 + tf.shape(waveform)[1] // self.settings.hop_length
        mel = self._mel_power(self._frames(waveform, n_frames))
        mel = tf.reshape(mel, (-1, n_frames, self.settings.n_mels))
        return tf.transpose(self._fixed(mel, n_frames), (0, 2, 1))[..., None]

    def _frames(self, waveform: Tensor, n_frames: Tensor) -> Tensor:
        """Cut centred frames, shape (n * n_frames, n_fft)."""
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        padded = tf.pad(waveform, ((0, 0), (n_fft // 2, n_fft)))[:, : (n_frames - 1) * hop + n_fft]
        # Frames start and end at multiples of this, so whole blocks are gathered instead of samples.
        block = math.gcd(n_fft, hop)
        blocks = tf.reshape(padded, (tf.shape(waveform)[0], -1, block))
        of_frame = tf.range(n_frames)[:, None] * (hop // block) + tf.range(n_fft // block)
        return tf.reshape(tf.gather(blocks, of_frame, axis=1), (-1, n_fft))

    def _mel_power(self, frames: Tensor) -> Tensor:
        """Take frames to their power in each mel band, shape (n * n_frames, n_mels); see transform_matrices()."""
        n_b, n_a, twice_n_k = self.inner.shape
        x = tf.transpose(tf.reshape(frames, (-1, n_a, n_b)), (2, 0, 1))
        x = tf.reshape(tf.matmul(x, self.inner), (n_b, -1, 2, twice_n_k // 2))
        x = tf.reshape(tf.transpose(x, (3, 1, 2, 0)), (twice_n_k // 2, -1, 2 * n_b))
        x = tf.square(tf.matmul(x, self.outer))
        power = x[..., :n_b] + x[..., n_b:]
        return tf.matmul(tf.reshape(tf.transpose(power, (1, 0, 2)), (-1, len(self.filterbank))), self.filterbank)

    def _fixed(self, mel: Tensor, n_frames: Tensor) -> Tensor:
        """Take the logarithm, crop or pad to the fixed width, and normalise, shape (n, settings.n_frames, n_mels)."""
        settings, amin = self.settings, np.float32(self.settings.amin)
        peak = tf.maximum(tf.reduce_max(mel, axis=(1, 2), keepdims=True), amin)
        floor = tf.maximum(peak * np.float32(10.0 ** (-settings.top_db / 10.0)), amin)
        first = tf.maximum(n_frames - settings.n_frames, 0) // 2
        level = tf.math.log(tf.maximum(mel[:, first : first + settings.n_frames], floor))
        lowest = tf.reduce_min(level, axis=(1, 2), keepdims=True)
        highest = tf.reduce_max(level, axis=(1, 2), keepdims=True)
        # featurize adds this to the range. A maximum does the same, and an optimiser that rearranges sums keeps it.
        x = (level - lowest) / tf.maximum(highest - lowest, np.float32(1e-8 * np.log(10.0) / 10.0))
        # The minimum, which fills missing columns, has become 0.
        x = tf.pad(x, ((0, 0), (0, tf.maximum(settings.n_frames - n_frames, 0)), (0, 0)))
        return tf.reshape(x, (-1, settings.n_frames, settings.n_mels))


def transform_matrices(settings: MelSettings) -> tuple[Float32, Float32, Float32]:
    """Write the window, the Fourier transform and the mel filterbank as three stacks of small matrices.

    With n_fft = A B, sample n = B a + b and bin k = k1 + A k2, the transform falls into A-point ones and B-point ones
    (J. W. Cooley, J. W. Tukey, "An algorithm for the machine calculation of complex Fourier series", Mathematics of
    Computation 19, 1965), here with the window w before and the twiddle factors within the second::

        inner[b, k1]    = sum over a of exp(-2 pi i a k1 / A) w[B a + b] y[B a + b]
        X[k1 + A k2]    = sum over b of exp(-2 pi i b (k1 / n_fft + k2 / B)) inner[b, k1]

    A waveform is real, so bins k and n_fft - k have the same power, and k1 from 0 to A // 2 reach every bin or its
    mirror image. That is a tenth of the work of one matrix, and of the room it would take in a file.

    Returns
    -------
    tuple of ndarray
        All float32. `inner`, shape (B, A, 2 K) with K = A // 2 + 1: real parts, then imaginary ones. `outer`, shape
        (K, 2 B, 2 B): takes real and imaginary parts to real and imaginary parts. `filterbank`, shape (K B, n_mels):
        the mel weights of every (k1, k2), 0 where the bin was met before.
    """
    n_fft = settings.n_fft
    n_a = max(n for n in range(1, math.isqrt(n_fft) + 1) if n_fft % n == 0)
    n_b = n_fft // n_a
    a, b, k1, k2 = np.arange(n_a), np.arange(n_b), np.arange(n_a // 2 + 1), np.arange(n_b)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    inner = window.reshape(n_a, n_b).T[:, :, None] * np.exp(-2j * np.pi * a[:, None] * k1 / n_a)
    outer = np.exp(-2j * np.pi * b[:, None] * (k1[:, None, None] / n_fft + k2 / n_b))
    from_real, from_imaginary = np.dstack([outer.real, outer.imag]), np.dstack([-outer.imag, outer.real])
    bins = (k1[:, None] + n_a * k2).ravel()
    bins, first = np.unique(np.minimum(bins, n_fft - bins), return_index=True)
    filterbank = np.zeros((len(k1) * n_b, settings.n_mels), np.float32)
    filterbank[first] = mel_filterbank(settings).T[bins]
    return (
        np.dstack([inner.real, inner.imag]).astype(np.float32),
        np.hstack([from_real, from_imaginary]).astype(np.float32),
        filterbank,
    )

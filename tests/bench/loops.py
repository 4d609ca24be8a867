"""The sides of the rows about features; `python -m tests.bench.loops NAME ...` prints one number of a steady state.

Nothing of one side is loaded in the process of another.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

CLASSES = ("dog", "cat", "bird")
N_WARM = 40


def files(data: Path, n_clips: int) -> list[Path]:
    """The clips of the three classes in turns, so that any first part of them is mixed."""
    by_class = [sorted(path for path in (data / name).iterdir() if path.is_file()) for name in CLASSES]
    turns = [path for three in zip(*by_class, strict=False) for path in three]
    return turns[:n_clips]


def rate(clips: list[Path], features: Callable[[Path], object]) -> float:
    """Clips a second of a function of one clip, once it is warm."""
    for path in clips[:N_WARM]:
        features(path)
    started = time.perf_counter()
    for path in clips:
        features(path)
    return len(clips) / (time.perf_counter() - started)


def librosa_features() -> Callable[[Path], object]:
    """The notebook's cells 3 to 5 for one clip."""
    import librosa
    import numpy as np

    def features(path: Path) -> object:
        y, sr = librosa.load(path, sr=16000)
        S = librosa.feature.melspectrogram(y=y, sr=sr, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
        S_db = librosa.power_to_db(S, ref=np.max)
        n_frames = S_db.shape[1]
        if n_frames > 128:
            start = (n_frames - 128) // 2
            S_db = S_db[:, start : start + 128]
        elif n_frames < 128:
            S_db = np.pad(S_db, ((0, 0), (0, 128 - n_frames)), mode="constant", constant_values=(S_db.min(),))
        S_norm = (S_db - S_db.min()) / (S_db.max() - S_db.min() + 1e-8)
        return S_norm.astype("float32")[..., np.newaxis]

    return features


def torchaudio_features() -> Callable[[Path], object]:
    """The same numbers by torchaudio, one clip at a time, for clips at 16 kHz."""
    import soundfile
    import torch
    import torchaudio

    torch.set_num_threads(1)
    mel = torchaudio.transforms.MelSpectrogram(
        16000, 1024, hop_length=512, n_mels=128, power=2.0, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    decibels = torchaudio.transforms.AmplitudeToDB(top_db=80.0)

    def features(path: Path) -> object:
        y, _ = soundfile.read(path, dtype="float32")
        S_db = decibels(mel(torch.from_numpy(y)))
        return (S_db - S_db.min()) / (S_db.max() - S_db.min() + 1e-8)

    return features


def kaldi_features() -> Callable[[Path], object]:
    """128 log mel bands of 16 kHz clips by kaldi-native-fbank: its own mel scale and frames, not the same numbers."""
    import kaldi_native_fbank as knf
    import numpy as np
    import soundfile

    options = knf.FbankOptions()
    options.frame_opts.samp_freq = 16000
    options.frame_opts.frame_length_ms = 64
    options.frame_opts.frame_shift_ms = 32
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 128

    def features(path: Path) -> object:
        y, _ = soundfile.read(path, dtype="float32")
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(16000, y.tolist())
        fbank.input_finished()
        return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    return features


def lhotse_features() -> Callable[[Path], object]:
    """128 log mel bands of 16 kHz clips by lhotse's Fbank (its own mel scale and frames, so not the same numbers)."""
    import soundfile
    from lhotse import Fbank, FbankConfig

    extractor = Fbank(
        FbankConfig(sampling_rate=16000, num_filters=128, frame_length=0.064, frame_shift=0.032, dither=0)
    )

    def features(path: Path) -> object:
        y, _ = soundfile.read(path, dtype="float32")
        return extractor.extract(y, 16000)

    return features


def in_range_of(profile: str, by_librosa: bool) -> Callable[[Path], object]:
    """The features of one clip in the range of a profile, by featurize or by librosa's own calls."""
    from featurize import featurize_clip
    from featurize.features.check import librosa_spectrogram
    from featurize.features.profiles import PROFILES

    settings = PROFILES[profile]
    return lambda path: librosa_spectrogram(path, settings) if by_librosa else featurize_clip(path, settings)


RIVALS = {
    "librosa": librosa_features,
    "torchaudio": torchaudio_features,
    "kaldi-native-fbank": kaldi_features,
    "lhotse": lhotse_features,
}


def our_features() -> Callable[[Path], object]:
    """The same numbers by featurize, as `train predict` asks for them."""
    from featurize import featurize_clip

    return featurize_clip


def side_by_side(clips: list[Path], n_jobs: int) -> float:
    """Clips a second of our features in so many processes at once, each with its share of the clips."""
    features = our_features()
    features(clips[0])
    with ProcessPoolExecutor(n_jobs, multiprocessing.get_context("fork")) as executor:
        shares = [executor.submit(rate, clips[i::n_jobs], features) for i in range(n_jobs)]
        return sum(share.result() for share in shares)


def ours(data: Path, clips: list[Path], n_jobs: int) -> float:
    """Clips a second of featurize's workers: hashing, checksums and handing over included, writing not.

    The clock starts when an eighth of the clips is done, so that the start of the workers does not count.
    """
    from cache.file.settings import MelSettings
    from featurize.audio.find import Clip
    from featurize.workers.batch import Task
    from featurize.workers.processes import processes
    from featurize.workers.schedule import run_batches

    found = ((str(path.relative_to(data)), path.stat()) for path in clips)
    tasks = [Task(Clip(path, 0, stat.st_size, stat.st_mtime_ns), "") for path, stat in found]
    n_warm = n_done = 0
    started = time.perf_counter()
    with processes(n_jobs, len(tasks), MelSettings(), "float32", data / "rows") as pool:
        for _, done, _ in run_batches(str(data), tasks, MelSettings(), pool):
            n_done += len(done.rows)
            if not n_warm and n_done >= len(tasks) // 8:
                n_warm, started = n_done, time.perf_counter()
    assert n_done == len(tasks)
    return (n_done - n_warm) / (time.perf_counter() - started)


def whole_script(data: Path, out: Path) -> int:
    """The plain script: the notebook's loop over every clip, then np.save."""
    import numpy as np

    features = librosa_features()
    X, y = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((data / name).glob("*.wav")):
            X.append(features(path))
            y.append(np.eye(3, dtype="float32")[label])
    np.save(out, np.stack(X))
    np.save(out.with_suffix(".y.npy"), np.stack(y))
    return len(X)


def notebook(data: Path) -> int:
    """The notebook's cells 1 to 6 as they are, TensorFlow's import among them."""
    import numpy as np
    import tensorflow as tf  # noqa: F401
    from tensorflow.keras import layers, models  # noqa: F401

    features = librosa_features()
    X = [features(path) for name in CLASSES for path in sorted((data / name).glob("*.wav"))[:20]]
    return len(np.stack(X))


def long_recording(file: Path, whole: bool) -> float:
    """Seconds for the row of one long recording: streamed, or read, mixed and resampled in one piece."""
    import numpy as np

    from cache.file.settings import MelSettings
    from featurize import featurize_clip
    from featurize.features.row import write_spectrogram

    started = time.perf_counter()
    if whole:
        import soundfile
        import soxr

        y, sr = soundfile.read(file, dtype="float32", always_2d=True)
        y = soxr.resample(y.mean(axis=1), sr, 16000, quality="soxr_hq")
        out = np.zeros((128, 128), np.float32)
        write_spectrogram([y], len(y), MelSettings(), out)
    else:
        featurize_clip(file)
    return time.perf_counter() - started


def main(name: str, *arguments: str) -> str:
    if name == "ours":
        data, n_clips, n_jobs = Path(arguments[0]), int(arguments[1]), int(arguments[2])
        return str(ours(data, files(data, n_clips), n_jobs))
    if name == "features":
        clips, n_jobs = files(Path(arguments[0]), int(arguments[1])), int(arguments[2])
        return str(rate(clips, our_features()) if n_jobs == 1 else side_by_side(clips, n_jobs))
    if name == "range":
        return str(rate(files(Path(arguments[0]), 300), in_range_of(arguments[1], arguments[2] == "librosa")))
    if name == "script":
        return str(whole_script(Path(arguments[0]), Path(arguments[1])))
    if name == "notebook":
        return str(notebook(Path(arguments[0])))
    if name in ("streamed", "whole"):
        return str(long_recording(Path(arguments[0]), whole=name == "whole"))
    return str(rate(files(Path(arguments[0]), int(arguments[1])), RIVALS[name]()))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

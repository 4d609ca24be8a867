"""The rows of the benchmark that are about predict, and what they run against: librosa and Keras by hand.

Run as a module it is one side of a row: `python -m tests.bench.predicting by-hand|decoding|network RUN FILE`.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.bench.featurizing import Set, line
from tests.bench.measure import in_turns, peak_anonymous, printed, processor_seconds, run, seconds

HERE = ("-m", "tests.bench.predicting")
WINDOW, SR = 1.0, 16000

# 0.068 s for 10 s of sound in windows of 3 s without overlap; x86-64, the machine is not named. It knows 6,000 species.
BIRDNET, BIRDNET_SECONDS = "https://docs.silvasonic.de/adr/0027-birdnet-inference-engine/", 360 * 0.068


def predicting(given: Set) -> Iterator[str]:
    """One clip, and an hour of sound in windows of a second that overlap by half."""
    folder, clip, hour = _run_of(given), next(given.few.rglob("*.wav")), _hour(given.scratch / "hour.wav")
    one = ("-m", "train", "predict", str(folder), str(clip))
    pair = in_turns(lambda: seconds(*one), lambda: seconds(*HERE, "by-hand", str(folder), str(clip)), given.n_pairs)
    yield line("predict one clip, whole process / librosa and Keras by hand", pair, "s", "ours under 1.0 s")
    yield f"| predict one clip, anonymous memory | {peak_anonymous(*one) / 1e6:.0f} MB | | | under 250 MB |"
    whole = ("-m", "train", "predict", str(folder), str(hour), "--window", str(WINDOW))
    pair = in_turns(lambda: seconds(*whole), lambda: seconds(*HERE, "by-hand", str(folder), str(hour)), given.n_pairs)
    yield line("predict an hour, whole process / librosa and Keras by hand", pair, "s", "")
    sides = [lambda side=side: processor_seconds(*side) for side in (whole, (*HERE, "by-hand", str(folder), str(hour)))]
    yield line("of both, processor time", in_turns(sides[0], sides[1], given.n_pairs), "s", "")
    parts = [lambda name=name: printed(*HERE, name, str(folder), str(hour)) for name in ("decoding", "network")]
    pair = in_turns(parts[0], parts[1], given.n_pairs)
    yield line("of it, decoding and features on one core / the network on all", pair, "s", "")
    yield f"| predict an hour / BirdNET 2.4 by LiteRT, [as published]({BIRDNET}) | | {BIRDNET_SECONDS:.0f} s | | |"


def _run_of(given: Set) -> Path:
    folder, cache = given.scratch / "run", given.scratch / "predicting.h5"
    if not folder.exists():
        run("-m", "featurize", str(given.few), "--cache", str(cache), "--quiet")
        run("-m", "train", "fit", str(cache), "--run", str(folder), "--model", "compact", "--epochs", "1", "--quiet")
    return folder


def _hour(file: Path) -> Path:
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(file, "w", SR, 1) as recording:
        for _ in range(60):
            recording.write(rng.normal(0, 0.05, 60 * SR).astype(np.float32))
    return file


def by_hand(folder: Path, file: Path) -> None:
    """Classify as a person does with the libraries: load all, a spectrogram for each window, one call of the model."""
    import keras
    import librosa

    y, sr = librosa.load(file, sr=SR)
    length = min(len(y), round(WINDOW * sr))
    windows = [y[start : start + length] for start in range(0, len(y) - length + 1, length // 2)]
    model = keras.models.load_model(folder / "model.keras", compile=False)
    model.predict(np.stack([_row(window) for window in windows]), batch_size=48, verbose=0)


def _row(y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import librosa

    db = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=SR, n_fft=1024, hop_length=512), ref=np.max)
    db = np.pad(db[:, :128], ((0, 0), (0, max(0, 128 - db.shape[1]))), constant_values=db.min())
    x: npt.NDArray[np.float32] = ((db - db.min()) / (db.max() - db.min() + 1e-8)).astype(np.float32)
    return x[..., None]


def decoding(folder: Path, file: Path) -> None:
    """Featurize every window and classify none, and print the seconds."""
    from cache.file.settings import MelSettings
    from featurize.audio.decode import open_audio
    from featurize.audio.resample import mono_blocks
    from featurize.features.row import spectrogram
    from train.predict.windows import Windows, cuts

    settings = MelSettings()
    spectrogram(np.ones(SR, np.float32), SR, settings)  # compiles
    started = time.perf_counter()
    with open_audio(str(file)) as audio:
        for cut in cuts(mono_blocks(audio, audio.sr), audio.sr, Windows(WINDOW, 0.5)):
            spectrogram(cut.y, audio.sr, settings)
    print(time.perf_counter() - started)


def network(folder: Path, file: Path) -> None:
    """Classify as many windows of noise as an hour has, and print the seconds."""
    from cache.file.settings import MelSettings
    from featurize.features.row import n_frames_of
    from train.models.inference import BATCH_SIZE, forward_of
    from train.runs.directory import open_run

    forward = forward_of(open_run(folder), n_frames_of(round(WINDOW * SR), MelSettings()))
    batch = np.random.default_rng(0).random((BATCH_SIZE, 128, 128, 1)).astype(np.float32)
    started = time.perf_counter()
    for _ in range(7200 // BATCH_SIZE):
        forward(batch)
    print(time.perf_counter() - started)


ROWS = {"predicting": predicting}
SIDES = {"by-hand": by_hand, "decoding": decoding, "network": network}

if __name__ == "__main__":
    SIDES[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))

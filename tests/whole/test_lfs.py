"""A repository that was cloned without its large files has Git LFS pointers in their place; they are called so."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cache import open_cache
from cache.shared.errors import UserError
from cache.shared.files import read_lines
from featurize import featurize_clip
from train.runs.directory import load_model

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("clip.wav", featurize_clip),
        ("clip.mp3", featurize_clip),
        ("features.h5", open_cache),
        ("table.csv", read_lines),
        ("model.keras", lambda file: load_model(SimpleNamespace(folder=file.parent))),
    ],
)
def test_a_pointer_is_called_one_with_the_remedy(name: str, read: object, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(POINTER)
    with pytest.raises(UserError, match=rf"^{file}: it is a Git LFS pointer, .* run `git lfs pull`"):
        read(file)  # type: ignore[operator]

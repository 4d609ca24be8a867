"""The setting of malloc is a matter of glibc alone."""

import ctypes
import platform

import pytest

from train.backend.memory import keep_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_takes_the_settings() -> None:
    assert keep_memory()


class Musl:
    """A C library that has a mallopt, but is not glibc."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Musl()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    assert not keep_memory()
    assert libc.calls == []


def test_a_system_without_such_a_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: object) -> None:
        raise TypeError("a name is needed")  # what Windows says to None

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert not keep_memory()

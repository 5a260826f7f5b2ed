"""Wrong arguments are refused before anything is opened, in words that help."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import v2m_engine
from rig.playing import Recording
from v2m_engine import AudioCapture, DeviceError, EngineUnavailableError, V2MError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 44100}, "16000"),
        ({"sample_rate": -16000}, "16000"),
        ({"buffer_size": 0}, "buffer_size=0"),
        ({"buffer_size": -5}, "buffer_size=-5"),
        ({"buffer_size": 1 << 40}, "buffer_size"),
        ({"engine": "other"}, '"private"'),
        ({"latency": "fast"}, "128/48000"),
        ({"dtype": "int32"}, 'dtype=\'int32\': must be "float32" or "int16"'),
        ({"dtype": 16}, "dtype=16"),
        ({"channel": 0}, "channel=0"),
        ({"channel": 65}, "channel=65"),
        ({"channel": "left ear"}, "channel='left ear': .* write auto, mix"),
        ({"channel": 1.5}, "channel=1.5"),
    ],
)
def test_capture(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioCapture(**arguments)


@pytest.mark.parametrize("hop", [0, -1, 4097, 1.5, "cycle"])
def test_hop(hop: Any) -> None:
    with pytest.raises(ValueError, match="hop="):
        AudioCapture().stream(hop)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_timeout(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout="):
        AudioCapture().stream(timeout=timeout)


@pytest.mark.parametrize("seconds", [0, -1, 1.5, float("nan"), 1e-7])
def test_switch_interval(seconds: float) -> None:
    with pytest.raises(ValueError, match="switch_interval="):
        AudioCapture().stream(switch_interval=seconds)


def test_no_service() -> None:
    with (
        pytest.raises(EngineUnavailableError, match="v2m-engine run"),
        AudioCapture(engine="service").stream(),
    ):
        pass


def test_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("V2M_ENGINE_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    # An engine may be installed beside this interpreter.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with (
        pytest.raises(EngineUnavailableError, match="install it"),
        AudioCapture(engine="private").stream(),
    ):
        pass


def test_program_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2M_ENGINE_BIN", "/etc/passwd")
    with (
        pytest.raises(EngineUnavailableError, match="/etc/passwd"),
        AudioCapture(engine="private").stream(),
    ):
        pass


def test_a_source_that_is_none(tmp_path: Path) -> None:
    capture = AudioCapture(engine="private", source=f"file:{tmp_path}/none.wav")
    with pytest.raises(V2MError, match=r"none\.wav"), capture.stream():
        pass


def test_a_buffer_longer_than_half_the_history(recording: Callable[..., Recording]) -> None:
    capture = AudioCapture(buffer_size=1 << 20, engine="private", source=recording(1).source)
    with pytest.raises(ValueError, match="at most 524288"), capture.stream():
        pass


def test_errors_are_one_family() -> None:
    for name in ("EngineUnavailableError", "OverrunError", "DeviceError"):
        assert issubclass(getattr(v2m_engine, name), V2MError)


def test_everything_public_is_documented_in_the_stub() -> None:
    stub = (Path(v2m_engine.__file__).parent / "_native.pyi").read_text()
    for name in (
        "AudioCapture",
        "AudioStream",
        "AudioChunk",
        "SpeechSegment",
        "VADProcessor",
    ):
        public = [member for member in dir(getattr(v2m_engine, name)) if member[0] != "_"]
        assert public
        for member in public:
            assert f"def {member}(" in stub, f"{name}.{member}"


@pytest.mark.parametrize("source", ["", " ", "\n\t"])
def test_a_source_without_a_name(source: str) -> None:
    with pytest.raises(ValueError, match="source="):
        AudioCapture(source=source)


def test_a_latency_that_is_none() -> None:
    with pytest.raises(ValueError, match="latency="):
        AudioCapture(latency="128")


@pytest.mark.parametrize("source", ["alsa:", "monitor:", "clean:", "file:/none.wav", "x" * 3000])
def test_sources_that_a_service_refuses(service: Callable[..., object], source: str) -> None:
    service("--source", "null:")
    with (
        pytest.raises(DeviceError),
        AudioCapture(engine="service", source=source).stream(timeout=1),
    ):
        pass


def test_a_name_that_no_request_holds(service: Callable[..., object]) -> None:
    service("--source", "null:")
    capture = AudioCapture(engine="service", source="x" * 5000)
    with pytest.raises(ValueError, match="shorter"), capture.stream():
        pass


@pytest.mark.parametrize("source", ["--help", "-V", "--allow=/x"])
def test_a_source_that_looks_like_a_flag(source: str) -> None:
    capture = AudioCapture(engine="private", source=source)
    with pytest.raises(DeviceError, match=f"no audio from {source}"), capture.stream(timeout=0.5):
        pass

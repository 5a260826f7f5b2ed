"""What the engine says is wrong with a source: files that are, and speech that isn't."""

from __future__ import annotations

import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rig import wait_until
from rig.user import SPEECH, User

Floats = npt.NDArray[np.floating[Any]]

RATE = 48_000


def speech(seconds: float = 12.0) -> Floats:
    """ "Front, center", over and over, its loudest sample at -6 dBFS."""
    with wave.open(SPEECH) as file:
        assert file.getframerate() == RATE
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    words = data.reshape(-1, file.getnchannels())[:, 0] / 32768
    return np.resize(words, int(seconds * RATE))


def noise(decibels: float, seconds: float = 12.0) -> Floats:
    return np.random.default_rng(7).normal(0, 10 ** (decibels / 20), int(seconds * RATE))


def findings(user: User, path: Path, audio: Floats, *arguments: str) -> list[dict[str, Any]]:
    """What is said at the end of a file; channels stand in columns."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if audio.ndim == 1 else audio.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.round(audio * 32768), -32768, 32767).astype("<i2").tobytes())
    source = ("--source", f"file:{path}", "--no-pace")
    engine = user.start(*source, *arguments)
    wait_until(lambda: user.status()["state"] == "ended", "the end of the file")
    # The last look at the sound comes with the next tick.
    time.sleep(0.3)
    status = user.status()
    text = user.command("status").stdout
    engine.terminate()
    engine.wait(10)
    found: list[dict[str, Any]] = status["health"]
    for finding in found:
        assert f"{finding['text']}  -> {finding['remedy']}\n" in text
        assert 0 <= finding["position"] <= status["ring"]["position"]
    assert text.count("\nhealth ") == len(found)
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [finding["kind"] for finding in found]


@pytest.mark.parametrize("vad", ["native", "off"])
def test_speech_is_well(user: User, tmp_path: Path, vad: str) -> None:
    assert findings(user, tmp_path / "a.wav", speech(), "--vad-backend", vad) == []
    soft = speech() * 10 ** (-34 / 20)
    assert findings(user, tmp_path / "b.wav", soft, "--vad-backend", vad) == []


@pytest.mark.parametrize("vad", ["native", "off"])
def test_what_is_wrong_is_said(user: User, tmp_path: Path, vad: str) -> None:
    def found(audio: Floats) -> list[dict[str, Any]]:
        return findings(user, tmp_path / "a.wav", audio, "--vad-backend", vad)

    (dc,) = found(speech() / 2 + 0.07)
    assert dc["kind"] == "dc" and dc["unit"] == "full scale"
    assert dc["value"] == pytest.approx(0.07, abs=0.002)

    (noisy,) = found(noise(-63))
    assert noisy["kind"] == "noise" and noisy["unit"] == "dBFS"
    # Half of the band is gone.
    assert noisy["value"] == pytest.approx(-63 - 4.5, abs=2)
    assert kinds(found(noise(-63) + 0.07)) == ["noise", "dc"]

    (silence,) = found(np.concatenate([speech(4), np.zeros(5 * RATE)]))
    assert silence["kind"] == "silence" and silence["value"] == 0
    assert silence["position"] == pytest.approx(4 * 16_000, abs=1_024)
    assert "zeros" in silence["text"]
    assert kinds(found(np.full(5 * RATE, 0.25))) == ["silence", "dc"]

    (faint,) = found(speech() * 10 ** (-62 / 20))
    assert faint["kind"] == "too-quiet" and faint["value"] < -70

    cut = 0.5 * 10 ** (-12 / 20)
    (clipped,) = found(np.clip(speech(), -cut, cut))
    assert clipped["kind"] == "clipping"
    assert clipped["value"] == pytest.approx(-18, abs=1)
    assert "before" not in clipped["text"]
    (clipped,) = found(speech() * 8)
    assert clipped["kind"] == "clipping" and "full scale" in clipped["text"]


def test_what_is_wrong_with_channels_is_said(user: User, tmp_path: Path) -> None:
    def found(*channels: Floats) -> list[dict[str, Any]]:
        audio = np.stack(channels, axis=1)
        return findings(user, tmp_path / "a.wav", audio, "--vad-backend", "off")

    left, right = speech(), 0.8 * speech()
    assert found(left) == found(left, left) == found(left, right) == []
    # Two microphones, the second somewhat farther from the voice.
    farther = 0.7 * np.roll(left, 9) + noise(-70)
    assert found(left + noise(-75), farther) == []

    for dead, channels in (("FR", (left, 0 * left)), ("FL", (0 * left, left))):
        (finding,) = found(*channels)
        assert finding["kind"] == "dead-channel" and finding["text"].startswith(f"channel {dead}:")
        # The voice is heard all the same, in the other one.
        assert "cable" in finding["remedy"], finding

    (finding,) = found(left, -right)
    assert finding["kind"] == "opposite-polarity" and finding["text"].startswith("channel FR:")
    assert finding["remedy"], finding


def test_a_dead_channel_that_was_asked_for_is_silence(user: User, tmp_path: Path) -> None:
    audio = np.stack([speech(), np.zeros(12 * RATE)], axis=1)
    found = findings(user, tmp_path / "a.wav", audio, "--channel", "FR")
    assert kinds(found) == ["silence", "dead-channel"]
    assert "--channel FL" in found[1]["remedy"]


def test_a_file_that_is_over_soon_has_nothing_wrong(user: User, tmp_path: Path) -> None:
    assert findings(user, tmp_path / "a.wav", np.zeros(RATE)) == []


def test_nothing_is_wrong_with_what_is_not_captured(user: User, tmp_path: Path) -> None:
    # There is no such card here; the engine waits for it.
    user.start("--source", "alsa:hw:CARD=nowhere", "--capture", "while-used")
    status = user.status()
    assert status["state"] == "idle" and status["health"] == []
    assert "\nhealth" not in user.command("status").stdout

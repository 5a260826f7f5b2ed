"""Formats and rates that the engine doesn't give."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rig.playing import Recording, write_wav
from v2m_engine.compat import sounddevice as sd
from v2m_engine.compat._input import SAMPLE_SIZES, converted

RATE = 16000


@pytest.mark.parametrize("name", sorted(SAMPLE_SIZES))
def test_formats(name: str) -> None:
    rng = np.random.default_rng(7)
    edges = np.array([0, 1, -1, 1.5, -1.5, 1 - 2**-24, 2**-31], np.float32)
    samples = np.concatenate([edges, rng.uniform(-1.1, 1.1, 4000).astype(np.float32)])
    if name == "float32":
        assert converted(samples.tobytes(), name) == samples.tobytes()
        return
    bits = 8 * SAMPLE_SIZES[name]
    wanted = np.clip(
        np.rint(samples.astype(np.float64) * 2.0 ** (bits - 1)),
        -(2 ** (bits - 1)),
        2 ** (bits - 1) - 1,
    ).astype(np.int64)
    data = converted(samples.tobytes(), name)
    assert len(data) == len(samples) * bits // 8
    if name == "int24":
        got: Any = [
            int.from_bytes(data[i : i + 3], "little", signed=True) for i in range(0, len(data), 3)
        ]
    else:
        got = np.frombuffer(data, name).astype(np.int64) - (128 if name == "uint8" else 0)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("rate", [44100, 22050, 11025, 96000])
@pytest.mark.parametrize("block", [0, 1000])
def test_other_rates_by_soxr(tmp_path: Path, rate: int, block: int) -> None:
    """A tone comes as it is, and its times are those of capture."""
    tone = np.sin(2 * np.pi * 440 * np.arange(8 * 16000) / 16000)
    path = tmp_path / "tone.wav"
    write_wav(path, np.rint(tone * 16000).astype(np.int16))
    blocks: list[Any] = []
    times: list[float] = []
    over = threading.Event()

    def callback(indata: Any, frames: int, when: Any, status: sd.CallbackFlags) -> None:
        assert not status
        blocks.append(indata[:, 0])
        times.append(when.inputBufferAdcTime)
        assert when.inputBufferAdcTime < when.currentTime
        if sum(map(len, blocks)) > rate:
            over.set()
            raise sd.CallbackStop

    with sd.InputStream(rate, block, f"file:{path}", 1, callback=callback):
        assert over.wait(20)
    assert {len(each) for each in blocks} == {block or round(rate / 100)}
    got = np.concatenate(blocks)[rate // 2 :]
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
    assert abs(np.argmax(spectrum) * rate / len(got) - 440) < 3
    assert abs(np.std(got) - 16000 / 32768 / np.sqrt(2)) < 0.005
    assert np.allclose(np.diff(times), len(blocks[0]) / rate, atol=0.003)


def test_other_rates_say_what_to_install(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(sd.PortAudioError, match=r"44100 Hz.*pip install soxr.*-9997"):
        sd.check_input_settings(recording.source, 1, samplerate=44100)

"""PyAudio's shape."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from rig.playing import Recording, begin_of
from v2m_engine.compat import pyaudio

RATE = 16000


def test_reading(only_device: Recording) -> None:
    audio = pyaudio.PyAudio()
    stream = audio.open(RATE, 1, pyaudio.paInt16, input=True, input_device_index=0)
    assert stream.is_active() and not stream.is_stopped()
    pieces = [stream.read(size) for size in (1024, 1, 333, 5000)]
    assert [len(piece) for piece in pieces] == [2048, 2, 666, 10000]
    begin_of(only_device.int16, np.frombuffer(b"".join(pieces), np.int16))
    time.sleep(0.2)
    assert stream.get_read_available() > 1000
    stream.stop_stream()
    assert stream.is_stopped()
    with pytest.raises(OSError, match="stopped") as raised:
        stream.read(1)
    assert raised.value.errno == pyaudio.paStreamIsStopped
    with pytest.raises(OSError):
        stream.write(b"")
    stream.start_stream()
    assert stream.read(10)
    audio.terminate()
    with pytest.raises(OSError, match="closed"):
        stream.is_active()


def test_calling_back(only_device: Recording) -> None:
    got: list[Any] = []

    def callback(data: Any, frames: int, times: Any, flags: int) -> tuple[None, int]:
        got.append((data, frames, times, flags))
        return None, pyaudio.paContinue if len(got) < 10 else pyaudio.paComplete

    audio = pyaudio.PyAudio()
    stream = audio.open(
        rate=RATE,
        channels=1,
        format=pyaudio.paFloat32,
        input=True,
        input_device_index=0,
        frames_per_buffer=512,
        stream_callback=callback,
    )
    deadline = time.monotonic() + 20
    while stream.is_active():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(got) == 10
    begin_of(only_device.samples, np.frombuffer(b"".join(data for data, *_ in got), np.float32))
    for _, frames, times, flags in got:
        assert frames == 512 and flags == 0
        assert times["input_buffer_adc_time"] < times["current_time"]
    stream.close()
    audio.terminate()


def test_devices(only_device: Recording) -> None:
    audio = pyaudio.PyAudio()
    assert audio.get_device_count() == 1
    info = audio.get_default_input_device_info()
    assert info == audio.get_device_info_by_index(0)
    assert info["name"] == "Noise" and info["maxInputChannels"] == 1
    assert info["defaultSampleRate"] == RATE
    assert audio.get_default_host_api_info()["defaultInputDevice"] == 0
    with pytest.raises(OSError, match="Invalid device"):
        audio.get_device_info_by_index(3)
    with pytest.raises(OSError):
        audio.get_default_output_device_info()
    assert audio.is_format_supported(RATE, 0, 1, pyaudio.paInt16)
    with pytest.raises(ValueError) as raised:
        audio.is_format_supported(1000, 0, 1, pyaudio.paInt16)
    assert raised.value.args[1] == pyaudio.paInvalidSampleRate
    assert audio.get_format_from_width(2) == pyaudio.paInt16
    assert pyaudio.get_sample_size(pyaudio.paInt24) == 3

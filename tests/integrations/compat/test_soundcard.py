"""soundcard's shape."""

from __future__ import annotations

import numpy as np
import pytest

from rig.playing import Recording, begin_of
from v2m_engine.compat import soundcard

RATE = 16000


def test_microphones_and_recorders(only_device: Recording) -> None:
    assert [each.name for each in soundcard.all_microphones()] == ["Noise"]
    assert soundcard.get_microphone("ois").id == only_device.source
    assert soundcard.get_microphone("Nse").id == only_device.source
    with pytest.raises(IndexError):
        soundcard.get_microphone("hum")
    microphone = soundcard.default_microphone()
    assert repr(microphone) == "<Microphone Noise (1 channels)>" and not microphone.isloopback
    microphone = soundcard.get_microphone(only_device.source)
    pieces = []
    with microphone.recorder(samplerate=RATE, channels=1, blocksize=256) as recorder:
        for size in (1024, 10, 3000):
            pieces.append(recorder.record(size))
            assert pieces[-1].shape == (size, 1) and pieces[-1].dtype == np.float32
        pieces.append(recorder.record())
        assert len(pieces[-1])
        pieces.append(recorder.flush())
    begin_of(only_device.samples, np.concatenate(pieces))
    assert microphone.record(100, RATE).shape == (100, 1)
    assert microphone.record(100, RATE, channels=[0, 1]).shape == (100, 2)
    with pytest.raises(TypeError, match="channels"):
        microphone.recorder(RATE, channels=[])
    with pytest.raises(ValueError, match="8000, 16000"):
        microphone.recorder(500)
    with pytest.raises(RuntimeError, match="doesn't play"):
        soundcard.default_speaker()

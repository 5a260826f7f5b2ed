"""RealtimeSTT, on speech through a graph: fed, and by its own microphone code on our PyAudio."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rig import ROOT, PrivatePipeWire
from rig.hearing import WORDS, recognised, run_until
from v2m_engine import DeviceError, compat
from v2m_engine.integrations.realtimestt import Feed

pytestmark = pytest.mark.usefixtures("microphone")


class Pocketsphinx:
    """The recorder's recogniser."""

    def transcribe(self, audio: Any, language: Any = None, **_: Any) -> Any:
        from RealtimeSTT import TranscriptionResult

        return TranscriptionResult(recognised(np.asarray(audio)))


@pytest.fixture(autouse=True)
def torch() -> None:
    stand_in()


def stand_in() -> None:
    """The recorder imports PyTorch, whose wheels are of several GB, but uses only its
    multiprocessing where the model runs by ONNX: stands in for it where it isn't installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        module = ModuleType("torch")
        module.multiprocessing = multiprocessing  # type: ignore[attr-defined]
        module.cuda = SimpleNamespace(is_available=lambda: False)  # type: ignore[attr-defined]
        # SciPy looks whether arrays are of this class.
        module.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
        sys.modules["torch"] = module
        sys.modules["torch.multiprocessing"] = multiprocessing


def recorder(**more: Any) -> Any:
    from RealtimeSTT.audio_recorder import AudioToTextRecorder

    return AudioToTextRecorder(
        spinner=False,
        post_speech_silence_duration=0.3,
        no_log_file=True,
        device="cpu",
        silero_backend="raw_onnx",
        transcription_executor=Pocketsphinx(),
        ensure_sentence_starting_uppercase=False,
        ensure_sentence_ends_with_period=False,
        **more,
    )


def hears(one: Any) -> bool:
    """In one of four utterances: the first may have begun before."""
    return any(WORDS in one.text().lower() for _ in range(4))


def test_a_recorder_is_fed() -> None:
    one = recorder(use_microphone=False)
    try:
        with Feed(one) as feed:
            assert hears(one)
        assert feed.error is None
    finally:
        one.shutdown()


def test_a_recorder_uses_its_own_microphone_code() -> None:
    compat.install("pyaudio")
    one = recorder()
    try:
        assert hears(one)
    finally:
        one.shutdown()


def test_a_source_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="nowhere"), Feed(None, "file:/nowhere.wav"):  # type: ignore[arg-type]
        pass


def test_the_example(speaking: PrivatePipeWire) -> None:
    """With a recogniser whose model is here."""
    program = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
from test_realtimestt import recorder, stand_in
stand_in()
import RealtimeSTT
RealtimeSTT.AudioToTextRecorder = lambda model, use_microphone: recorder(use_microphone=False)
runpy.run_path(sys.argv[2], run_name="__main__")
"""
    example = ROOT / "python/examples/with_realtimestt.py"
    run_until(speaking, WORDS, "-c", program, Path(__file__).parent, example)

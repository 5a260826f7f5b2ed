"""pipecat, on speech through a graph: the microphone as a transport, and pipecat's states from the
engine's probabilities."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from rig import ROOT, PrivatePipeWire
from rig.hearing import RECORDING, WORDS, Ear, resampled, run_until
from v2m_engine.integrations import _speech
from v2m_engine.integrations.pipecat import V2MTransport, V2MTransportParams, V2MVADAnalyzer

#: The recording isn't loud.
PARAMS = VADParams(min_volume=0.0, stop_secs=0.3)


class Sink(FrameProcessor):
    """The pipeline's end: what arrives, until it heard all."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.ear = Ear(rate)
        self.frames: list[InputAudioRawFrame] = []
        self.speech: list[str] = []
        self.over = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.frames.append(frame)
            if self.ear.heard(frame.audio) and "stopped" in self.speech:
                self.over.set()
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self.speech.append("started")
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self.speech.append("stopped")
        await self.push_frame(frame, direction)


async def converse(rate: int, source: str | None = None, seconds: float = 30) -> Sink:
    """A pipeline until it heard the words and their end."""
    transport = V2MTransport(V2MTransportParams(audio_in_enabled=True, source=source))
    vad = VADProcessor(vad_analyzer=V2MVADAnalyzer(transport=transport, params=PARAMS))
    sink = Sink(rate)
    worker = PipelineWorker(
        Pipeline([transport.input(), vad, sink]),
        params=PipelineParams(audio_in_sample_rate=rate),
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    over = asyncio.create_task(sink.over.wait())
    await asyncio.wait({running, over}, timeout=seconds, return_when="FIRST_COMPLETED")
    over.cancel()
    await worker.cancel()
    await asyncio.wait_for(running, 10)
    return sink


@pytest.mark.usefixtures("microphone")
@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_a_pipeline_hears_words_and_where_they_end(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    model = _speech.Model.__call__
    monkeypatch.setattr(
        _speech.Model, "__call__", lambda self, audio: ran.append(1) or model(self, audio)
    )
    begun = time.monotonic_ns()
    sink = asyncio.run(converse(rate))
    assert WORDS in sink.ear.text
    # It may have begun in the middle of a word.
    assert "".join(sink.speech).replace("startedstopped", "") in ("", "started", "stopped")
    assert {frame.num_frames for frame in sink.frames} == {rate * 32 // 1000}
    assert {frame.sample_rate for frame in sink.frames} == {rate}
    times = [frame.metadata["capture_time_ns"] for frame in sink.frames]
    assert begun - 1e9 < times[0] and times == sorted(times)
    # The engine answered; a machine under load may have it late now and then.
    assert len(ran) < len(sink.frames) / 10


async def states(analyzer: VADAnalyzer, audio: bytes, rate: int) -> list[VADState]:
    analyzer.set_sample_rate(rate)
    found = []
    for at in range(0, len(audio), 640):
        found.append(await analyzer.analyze_audio(audio[at : at + 640]))
    await analyzer.cleanup()
    return found


def test_audio_from_elsewhere_is_judged_as_pipecat_does() -> None:
    quiet = bytes(16000)
    audio = quiet + RECORDING.read_bytes() + quiet
    ours = asyncio.run(states(V2MVADAnalyzer(params=PARAMS), audio, 16000))
    theirs = asyncio.run(states(SileroVADAnalyzer(params=PARAMS), audio, 16000))
    assert VADState.SPEAKING in ours
    # Theirs begins anew in silence now and then, which may move an edge by a window.
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert differing <= 4, (differing, len(ours))


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_audio_from_elsewhere_at_other_rates(rate: int) -> None:
    said = np.fromfile(RECORDING, "<i2") / 32768
    audio = np.concatenate([np.zeros(rate // 2), resampled(said, 16000, rate), np.zeros(rate // 2)])
    audio = np.rint(audio * 32767).astype("<i2").tobytes()
    found = asyncio.run(states(V2MVADAnalyzer(params=PARAMS), audio, rate))
    assert found[0] == found[-1] == VADState.QUIET
    assert 1 < found.count(VADState.SPEAKING) * 640 / (2 * rate) < 3


def test_it_has_no_output() -> None:
    with pytest.raises(NotImplementedError, match="output"):
        V2MTransport(V2MTransportParams()).output()


@pytest.mark.usefixtures("microphone")
def test_a_source_that_is_not_there_is_an_error_of_the_pipeline() -> None:
    sink = asyncio.run(converse(16000, "file:/nowhere.wav", seconds=4))
    assert not sink.frames


def test_the_example(speaking: PrivatePipeWire) -> None:
    run_until(speaking, "VADUserStartedSpeakingFrame", ROOT / "python/examples/with_pipecat.py")

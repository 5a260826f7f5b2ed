"""livekit-agents, on speech through a graph: the microphone as a session's audio, and livekit's
events from the engine's probabilities."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, inference, vad
from livekit.agents.vad import VADEventType

from rig import ROOT, PrivatePipeWire
from rig.hearing import RECORDING, WORDS, Ear, run_until
from v2m_engine.integrations import _speech
from v2m_engine.integrations.livekit import VAD, AudioInput

RATE = 24000


@pytest.mark.usefixtures("microphone")
def test_a_session_hears_when_somebody_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    model = _speech.Model.__call__
    monkeypatch.setattr(
        _speech.Model, "__call__", lambda self, audio: ran.append(1) or model(self, audio)
    )

    async def converse() -> list[tuple[str, str]]:
        states: list[tuple[str, str]] = []
        over = asyncio.Event()
        session: AgentSession[None] = AgentSession(
            vad=VAD(), turn_handling={"turn_detection": "vad"}
        )

        @session.on("user_state_changed")
        def changed(event: Any) -> None:
            states.append((event.old_state, event.new_state))
            if states[-2:] == [("listening", "speaking"), ("speaking", "listening")]:
                over.set()

        audio = session.input.audio = AudioInput(sample_rate=RATE)
        await session.start(Agent(instructions="listen"))
        try:
            await asyncio.wait_for(over.wait(), 30)
        finally:
            await session.aclose()
            await audio.aclose()
        return states

    assert ("listening", "speaking") in asyncio.run(converse())
    assert len(ran) < 20


@pytest.mark.usefixtures("microphone")
def test_words_come_in_frames_and_whole_utterances_in_events() -> None:
    async def listen() -> tuple[str, str, list[rtc.AudioFrame]]:
        ear, frames = Ear(RATE), []
        audio, stream = AudioInput(sample_rate=RATE), VAD().stream()
        utterances = asyncio.create_task(utterance(stream))
        async for frame in audio:
            frames.append(frame)
            stream.push_frame(frame)
            if ear.heard(bytes(frame.data)) and utterances.done():
                break
        await audio.aclose()
        await stream.aclose()
        return ear.text, await utterances, frames

    async def utterance(stream: vad.VADStream) -> str:
        """The first that is whole."""
        async for event in stream:
            if event.type == VADEventType.END_OF_SPEECH and event.speech_duration > 1.5:
                (speech,) = event.frames
                ear = Ear(RATE)
                ear.wanted = 0.0
                ear.heard(bytes(speech.data))
                return ear.text
        return ""

    text, whole, frames = asyncio.run(listen())
    assert WORDS in text and WORDS in whole
    assert {frame.samples_per_channel for frame in frames} == {RATE * 32 // 1000}
    times = [frame.userdata["capture_time_ns"] for frame in frames]
    assert times == sorted(times)


@pytest.mark.usefixtures("microphone")
def test_nothing_is_captured_while_it_is_detached() -> None:
    async def listen() -> None:
        audio = AudioInput(sample_rate=RATE)
        before = await anext(audio)
        audio.on_detached()
        waiting = asyncio.ensure_future(anext(audio))
        await asyncio.sleep(0.5)
        assert not waiting.done() and audio._stream is None
        audio.on_attached()
        after = await asyncio.wait_for(waiting, 10)
        # Cancelled while it opens: opens again.
        audio.on_detached()
        audio.on_attached()
        opening = asyncio.ensure_future(anext(audio))
        await asyncio.sleep(0)
        opening.cancel()
        assert await asyncio.wait_for(anext(audio), 10)
        hidden = after.userdata["capture_time_ns"] - before.userdata["capture_time_ns"]
        assert hidden > 0.4e9
        await audio.aclose()

    asyncio.run(listen())


async def events(one: vad.VAD, audio: bytes, rate: int, size: int) -> list[tuple[str, int]]:
    stream = one.stream()
    for at in range(0, len(audio) - 2 * size, 2 * size):
        stream.push_frame(rtc.AudioFrame(audio[at : at + 2 * size], rate, 1, size))
    stream.end_input()
    found = [
        (event.type.value, event.samples_index)
        async for event in stream
        if event.type != VADEventType.INFERENCE_DONE
    ]
    await stream.aclose()
    return found


@pytest.mark.parametrize("size", [160, 512, 700])
def test_audio_from_elsewhere_gives_livekits_own_events(size: int) -> None:
    quiet = bytes(32000)
    audio = quiet + RECORDING.read_bytes() + quiet + RECORDING.read_bytes() + quiet
    ours = asyncio.run(events(VAD(min_silence_duration=0.25), audio, 16000, size))
    theirs = asyncio.run(events(inference.VAD(min_silence_duration=0.25), audio, 16000, size))
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    assert ours
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        assert abs(a - b) <= 1024


def test_the_example(speaking: PrivatePipeWire) -> None:
    run_until(speaking, "^speaking$", ROOT / "python/examples/with_livekit.py")

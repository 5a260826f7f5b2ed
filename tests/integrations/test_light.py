"""Frameworks that are small, each as installed, on speech through a graph."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import anyio
import numpy as np
import pytest
import speech_recognition
import websockets
from hearing import WORDS, Ear, recognised

from v2m_engine import AudioCapture
from v2m_engine.integrations import openai_realtime
from v2m_engine.integrations.anyio import open_stream
from v2m_engine.integrations.openai_realtime import client_events
from v2m_engine.integrations.speech_recognition import Microphone
from v2m_engine.integrations.wake_word import Frames

pytestmark = pytest.mark.usefixtures("microphone")


def test_speech_recognition_listens() -> None:
    recognizer = speech_recognition.Recognizer()
    with Microphone() as source:
        recognizer.adjust_for_ambient_noise(source, 0.5)
        audio = recognizer.record(source, duration=8)
    assert WORDS in recognizer.recognize_sphinx(audio)


def test_speech_recognition_takes_phrases() -> None:
    recognizer = speech_recognition.Recognizer()
    with Microphone() as source:
        texts = (recognizer.recognize_sphinx(phrase) for phrase in source.phrases())
        # The first may have begun before.
        assert WORDS in (next(texts), next(texts))
    with pytest.raises(AssertionError, match="entered"):
        next(source.phrases())


def test_wake_word_frames_have_the_length_asked_for() -> None:
    ear = Ear()
    with Frames() as frames:
        first = next(frames)
        assert first.shape == (1280,) and first.dtype == np.int16
        assert WORDS in ear.listen(frames)
        assert frames.lost == 0


def test_wake_word_frames_come_to_tasks_too() -> None:
    async def listen() -> str:
        async with Frames(samples=512) as frames:
            return await Ear().listen_async(frames)

    assert WORDS in asyncio.run(listen())


def test_realtime_events_reach_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_realtime, "RATE", 16000)  # TODO until rates land

    async def converse() -> tuple[str, int]:
        ear, commits, over = Ear(openai_realtime.RATE), 0, asyncio.Event()

        async def serve(connection: Any) -> None:
            nonlocal commits
            async for message in connection:
                event = json.loads(message)
                if event["type"] == "input_audio_buffer.append":
                    ear.heard(base64.b64decode(event["audio"]))
                else:
                    assert event == {"type": "input_audio_buffer.commit"}
                    commits += 1
                if WORDS in ear.text and commits:
                    over.set()
                    return

        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with websockets.connect(f"ws://127.0.0.1:{port}") as connection:

                async def send() -> None:
                    async for event in client_events(commit=True):
                        await connection.send(json.dumps(event))

                sending = asyncio.create_task(send())
                await asyncio.wait(
                    {sending, asyncio.create_task(over.wait())}, return_when="FIRST_COMPLETED"
                )
                sending.cancel()
        return ear.text, commits

    text, commits = asyncio.run(converse())
    assert WORDS in text and commits >= 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_chunks_and_segments_under_anyio(backend: str) -> None:
    async def listen() -> None:
        capture = AudioCapture(16000, 512, dtype="int16")
        segments: list[Any] = []
        ear = Ear()
        async with open_stream(capture) as audio, anyio.create_task_group() as group:

            async def take_segments() -> None:
                async for segment in audio.segments():
                    segments.append(segment)

            group.start_soon(take_segments)
            with anyio.fail_after(40):
                async for chunk in audio:
                    if ear.heard(bytes(chunk)) and len(segments) > 1:
                        break
            group.cancel_scope.cancel()
        assert WORDS in [recognised(np.asarray(segment)) for segment in segments]
        capture.close()

    anyio.run(listen, backend=backend)

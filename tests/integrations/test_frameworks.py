"""Frameworks that are small, each as installed, on speech through a graph."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import anyio
import numpy as np
import pytest
import speech_recognition
import websockets
import wyoming.audio
import wyoming.client
import wyoming.info
import wyoming.vad

from rig import BINARY, PrivatePipeWire
from rig.hearing import ONCE, WORDS, Ear, environment, recognised
from v2m_engine import AudioCapture
from v2m_engine.compat import sounddevice as sd
from v2m_engine.compat._input import RATES
from v2m_engine.integrations import openai_realtime
from v2m_engine.integrations.anyio import open_stream
from v2m_engine.integrations.openai_realtime import client_events
from v2m_engine.integrations.speech_recognition import Microphone
from v2m_engine.integrations.wake_word import Frames

pytestmark = pytest.mark.usefixtures("microphone")


def test_samples_as_they_are() -> None:
    """Without any framework: chunks as bytes, and pieces of any length."""
    with AudioCapture(dtype="int16").stream() as audio:
        assert WORDS in Ear().listen(bytes(chunk) for chunk in audio)
        assert WORDS in Ear().listen(iter(lambda: audio.read(1000).tobytes(), b""))


def test_a_pipe_of_samples(speaking: PrivatePipeWire) -> None:
    command = [str(BINARY), "record", "-", "--format", "s16le", "--rate", "24000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(speaking)) as record:
        pipe = record.stdout
        assert pipe is not None
        assert WORDS in Ear(24000).listen(iter(lambda: pipe.read(2400), b""))
        record.terminate()


def test_speech_recognition_listens() -> None:
    recognizer = speech_recognition.Recognizer()
    recognizer.pause_threshold, recognizer.non_speaking_duration = 0.4, 0.3
    with Microphone() as source:
        recognizer.adjust_for_ambient_noise(source, 0.5)
        recorded = recognizer.record(source, duration=ONCE)
        # Between the pauses, by loudness.
        recognizer.energy_threshold = 100
        recognizer.dynamic_energy_threshold = False
        phrases = [recognizer.listen(source, timeout=5) for _ in range(2)]
    assert WORDS in recognizer.recognize_sphinx(recorded)
    assert WORDS in [recognizer.recognize_sphinx(phrase) for phrase in phrases]


def test_speech_recognition_takes_phrases() -> None:
    recognizer = speech_recognition.Recognizer()
    with Microphone() as source:
        texts = (recognizer.recognize_sphinx(phrase) for phrase in source.phrases())
        # The first may have begun before.
        assert WORDS in (next(texts), next(texts))
    with pytest.raises(AssertionError, match="entered"):
        next(source.phrases())
    with source:  # again
        assert source.stream is not None and len(source.stream.read(100)) == 200


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_through_the_look_alikes(rate: int) -> None:
    recorded = sd.rec(int(ONCE * rate), rate, channels=1, dtype="int16", blocking=True)
    assert recorded.shape == (int(ONCE * rate), 1)
    # The recogniser's model wants more than a telephone gives.
    assert WORDS in recognised(recorded.ravel(), rate) or rate == 8000
    assert np.std(recorded) > 100


def test_wake_word_frames_have_the_length_asked_for() -> None:
    ear = Ear()
    with Frames() as frames:
        first = next(frames)
        assert first.shape == (1280,) and first.dtype == np.int16
        assert WORDS in ear.listen(frames)
        assert frames.lost == 0
    with frames:  # again
        assert len(next(frames)) == 1280


def test_wake_word_frames_come_to_tasks_too() -> None:
    async def listen() -> str:
        async with Frames(samples=512) as frames:
            return await Ear().listen_async(frames)

    assert WORDS in asyncio.run(listen())


def test_realtime_events_reach_a_server() -> None:

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


def test_a_wyoming_server_sends_audio_and_voice(speaking: PrivatePipeWire) -> None:
    command = [sys.executable, "-m", "v2m_engine.integrations.wyoming"]
    path = speaking.directory / "wyoming.sock"
    server = subprocess.Popen(
        [*command, "--uri", f"unix://{path}"], env=environment(speaking), stderr=subprocess.PIPE
    )
    begun = time.monotonic_ns() // 1_000_000

    async def listen() -> None:
        ear, last = Ear(), 0
        started: list[int] = []
        stopped: list[int] = []
        async with wyoming.client.AsyncUnixClient(str(path)) as client:
            await client.write_event(wyoming.info.Describe().event())
            while not (WORDS in ear.text and stopped):
                event = await asyncio.wait_for(client.read_event(), 20)
                assert event is not None
                if wyoming.info.Info.is_type(event.type):
                    (microphone,) = wyoming.info.Info.from_event(event).mic
                    assert microphone.mic_format.rate == 16000
                elif wyoming.audio.AudioChunk.is_type(event.type):
                    chunk = wyoming.audio.AudioChunk.from_event(event)
                    ear.heard(chunk.audio)
                    assert chunk.timestamp is not None
                    assert begun < chunk.timestamp <= time.monotonic_ns() // 1_000_000
                    assert chunk.timestamp > last
                    last = chunk.timestamp
                elif wyoming.vad.VoiceStarted.is_type(event.type):
                    started.append(wyoming.vad.VoiceStarted.from_event(event).timestamp or 0)
                elif wyoming.vad.VoiceStopped.is_type(event.type):
                    stopped.append(wyoming.vad.VoiceStopped.from_event(event).timestamp or 0)
        assert started and started[0] < stopped[0] <= last + 64

    try:
        deadline = time.monotonic() + 20
        with socket.socket(socket.AF_UNIX) as probe:
            # There is a moment between a socket's name and its listening.
            while probe.connect_ex(str(path)):
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.05)
        asyncio.run(listen())
        # One after the other, and at once.
        asyncio.run(listen())
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)


def test_what_linux_voice_assistant_does(speaking: PrivatePipeWire) -> None:
    """It imports soundcard by itself; the lines are those of its `process_audio`."""
    program = """
import sys
import numpy as np
import soundcard as sc
for index, mic in enumerate(sc.all_microphones()):
    print(f"[{index}]", mic.name, file=sys.stderr)
mic = sc.default_microphone()
with mic.recorder(samplerate=16000, channels=1, blocksize=1024) as mic_in:
    while True:
        raw = mic_in.record(1024)
        col = raw.reshape(-1)
        chunk = (np.clip(col * 1.0, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
"""
    path = speaking.directory / "assistant.py"
    path.write_text(program)
    running = subprocess.Popen(
        [sys.executable, "-m", "v2m_engine.compat", path],
        env=environment(speaking),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None and running.stderr is not None
    try:
        ear = Ear()
        while not ear.heard(running.stdout.read(3200)):
            pass
    finally:
        running.kill()
    assert "Rig microphone" in running.stderr.read().decode()
    running.wait()


def test_speech_recognitions_own_microphone_on_our_pyaudio(speaking: PrivatePipeWire) -> None:
    program = """
import speech_recognition
recognizer = speech_recognition.Recognizer()
print(speech_recognition.Microphone.list_microphone_names())
with speech_recognition.Microphone(sample_rate=16000) as source:
    audio = recognizer.record(source, duration=5.5)
print(recognizer.recognize_sphinx(audio))
"""
    path = speaking.directory / "recognize.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "v2m_engine.compat", path],
        env=environment(speaking),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert WORDS in done.stdout and "Rig microphone" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("pipecat", "pipecat-ai"),
        ("livekit", "livekit-agents"),
        ("speech_recognition", "SpeechRecognition"),
        ("wyoming", "wyoming"),
        ("wake_word", "numpy"),
        ("anyio", "anyio"),
    ],
)
def test_a_missing_framework_is_named(module: str, package: str) -> None:
    program = (
        "import sys\n"
        f"for name in ('pipecat', 'livekit', 'speech_recognition', 'wyoming', 'numpy', 'anyio'):\n"
        "    sys.modules[name] = None\n"
        f"import v2m_engine.integrations.{module}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"pip install {package}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["realtimestt", "openai_realtime"])
def test_modules_that_need_nothing(module: str) -> None:
    __import__(f"v2m_engine.integrations.{module}")

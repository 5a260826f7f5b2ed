"""Streams under anyio's two backends: tasks that share one, that are cancelled, that outlive an
engine."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from rig import BINARY
from rig.playing import Recording
from v2m_engine import AudioCapture, DeviceError, EngineUnavailableError
from v2m_engine.integrations.anyio import open_stream

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))
    monkeypatch.setenv("V2M_ENGINE_SOCKET", str(runtime / "engine.sock"))


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "noise.wav", 20)


def run(backend: str, body: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with anyio.fail_after(40):
            return await body()

    return anyio.run(bounded, backend=backend)


def test_cancelling_loses_nothing(backend: str, recording: Recording) -> None:
    rng = random.Random(3)
    got: list[Any] = []

    async def listen() -> None:
        async with open_stream(AudioCapture(16000, 160, source=recording.source)) as audio:
            while len(got) < 150:
                with anyio.move_on_after(rng.uniform(0, 0.02)):
                    got.append(await anext(audio))

    run(backend, listen)
    assert np.all(np.diff([chunk.position for chunk in got]) == 160)


def test_tasks_share_a_stream_whoever_of_them_is_cancelled(
    backend: str, recording: Recording
) -> None:
    rng = random.Random(4)
    taken: list[int] = []

    async def listen() -> None:
        async with (
            open_stream(AudioCapture(16000, 160, source=recording.source)) as audio,
            anyio.create_task_group() as group,
        ):

            async def take() -> None:
                while len(taken) < 300:
                    with anyio.move_on_after(rng.uniform(0, 0.05)):
                        chunk = await anext(audio)
                        taken.append(chunk.position)

            for _ in range(5):
                group.start_soon(take)

    run(backend, listen)
    assert sorted(taken) == list(range(min(taken), min(taken) + 160 * len(taken), 160))


def test_an_engine_that_dies(backend: str, recording: Recording) -> None:
    async def listen() -> None:
        async with open_stream(AudioCapture(16000, 160, source=recording.source)) as audio:
            await anext(audio)
            pid = audio.stream.private_engine_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            async for chunk in audio:
                if chunk.gap:
                    break
            assert audio.stream.private_engine_pid != pid

    run(backend, listen)


def test_it_ends_with_the_source_and_when_it_is_closed(backend: str, tmp_path: Path) -> None:
    short = Recording(tmp_path / "short.wav", 1)

    async def listen() -> None:
        async with open_stream(AudioCapture(16000, 1600, source=short.source)) as audio:
            assert len([chunk async for chunk in audio]) == 10
        async with (
            open_stream(AudioCapture(16000, 1600, source=short.source)) as audio,
            anyio.create_task_group() as group,
        ):

            async def close() -> None:
                await anyio.sleep(0.2)
                audio.stream.close()

            group.start_soon(close)
            assert len([chunk async for chunk in audio]) < 10

    run(backend, listen)


def test_events_and_errors(backend: str, recording: Recording, tmp_path: Path) -> None:
    async def listen() -> None:
        async with open_stream(AudioCapture(source=recording.source)) as audio:
            events = audio.events()
            os.kill(audio.stream.private_engine_pid or 0, signal.SIGKILL)
            async for event in events:
                if event.kind == "state" and event.detail == "lost":
                    break
        with pytest.raises((EngineUnavailableError, DeviceError), match="nowhere"):
            async with open_stream(AudioCapture(source=f"file:{tmp_path}/nowhere.wav")):
                pass

    run(backend, listen)


def test_who_waits_goes_on_when_another_is_cancelled(backend: str, recording: Recording) -> None:
    """One task waits for the descriptor, for all of them."""

    async def listen() -> None:
        capture = AudioCapture(16000, 8000, source=recording.source)
        # Without a timeout, after which each would look again.
        async with (
            open_stream(capture, timeout=None) as audio,
            anyio.create_task_group() as group,
        ):
            await anext(audio)
            first = anyio.CancelScope()

            async def cancelled() -> None:
                with first:
                    await anext(audio)

            group.start_soon(cancelled)
            await anyio.wait_all_tasks_blocked()
            got: list[Any] = []

            async def patient() -> None:
                got.append(await anext(audio))

            group.start_soon(patient)
            await anyio.wait_all_tasks_blocked()
            assert not got
            first.cancel()
        assert got

    run(backend, listen)

"""The client events that OpenAI's Realtime API, and servers shaped like it, take for audio.

    async for event in client_events():
        await websocket.send(json.dumps(event))

`openai`'s own client takes them by `await connection.send(event)`.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal, TypedDict

from .. import AudioCapture, AudioChunk, AudioStream, OverrunError

#: Hz: what `audio/pcm` is there.
RATE = 24000


class Append(TypedDict):
    """Audio: base64 of 16-bit mono at 24 kHz."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(TypedDict):
    """What was appended is what the user said."""

    type: Literal["input_audio_buffer.commit"]


async def client_events(
    source: str | None = None,
    *,
    frame_ms: int = 40,
    commit: bool = False,
    channel: str | int | None = None,
) -> AsyncIterator[Append | Commit]:
    """Audio as it is captured, until the source ends or the iteration is left.

    Args:
        source: as `AudioCapture` takes it; None: the service's, or the default one.
        frame_ms: milliseconds of audio in one event.
        commit: a commit after the end of each utterance, as the engine hears it: for sessions
            with `turn_detection: null`.
        channel: as `AudioCapture` takes it.

    Raises:
        ValueError: `frame_ms` is not 1 to 60000, or another argument is none of these.
        V2MError: no engine, or the source is gone.
    """
    if not 1 <= frame_ms <= 60_000:
        raise ValueError(f"frame_ms={frame_ms}: must be 1 to 60000 milliseconds")
    capture = AudioCapture(
        RATE, RATE * frame_ms // 1000, source=source, channel=channel, dtype="int16"
    )
    try:
        async with capture.stream() as stream:
            ends: deque[int] = deque()
            hearing = asyncio.create_task(_utterances(stream, ends)) if commit else None
            try:
                async for chunk in _chunks(stream):
                    if hearing is not None and hearing.done():
                        hearing.result()  # why there are no more
                    audio = base64.b64encode(bytes(chunk)).decode("ascii")
                    yield Append(type="input_audio_buffer.append", audio=audio)
                    while ends and ends[0] <= chunk.position + len(chunk):
                        ends.popleft()
                        yield Commit(type="input_audio_buffer.commit")
            finally:
                if hearing is not None:
                    hearing.cancel()
    finally:
        capture.close()


async def _chunks(stream: AudioStream) -> AsyncIterator[AudioChunk]:
    while True:
        try:
            yield await anext(stream)
        except StopAsyncIteration:
            return
        except OverrunError:
            continue


async def _utterances(stream: AudioStream, ends: deque[int]) -> None:
    """Collects the positions at which they end."""
    async for event in stream.events():
        if event.kind == "speech-end":
            ends.append(event.position)

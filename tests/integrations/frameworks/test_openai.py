"""openai's own client sends our events, to a server of the test's own."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import websockets
from openai import AsyncOpenAI

from rig.hearing import WORDS, Ear
from v2m_engine.integrations import openai_realtime
from v2m_engine.integrations.openai_realtime import client_events


@pytest.mark.usefixtures("microphone")
def test_the_client_sends_what_is_heard() -> None:
    async def converse() -> str:
        ear = Ear(openai_realtime.RATE)

        async def serve(connection: Any) -> None:
            async for message in connection:
                event = json.loads(message)
                assert event["type"] == "input_audio_buffer.append"
                if ear.heard(base64.b64decode(event["audio"])):
                    done = {"type": "response.output_text.done", "text": ear.text}
                    await connection.send(json.dumps(done))

        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = AsyncOpenAI(api_key="none", websocket_base_url=f"ws://127.0.0.1:{port}/v1")
            async with client.realtime.connect(model="gpt-realtime") as connection:

                async def send() -> None:
                    async for event in client_events():
                        await connection.send(event)  # type: ignore[arg-type]

                sending = asyncio.create_task(send())
                answer = await asyncio.wait_for(anext(aiter(connection)), 40)
                sending.cancel()
                return str(answer.text)  # type: ignore[union-attr]

    assert WORDS in asyncio.run(converse())

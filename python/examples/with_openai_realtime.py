"""OpenAI's Realtime API, or a server shaped like it: sends 24 kHz audio, prints what it answers.

Needs `pip install websockets`. Usage: OPENAI_API_KEY=... python with_openai_realtime.py [URL]
"""

import asyncio
import json
import os
import sys

import websockets

from v2m_engine.integrations.openai_realtime import client_events

URL = sys.argv[1] if len(sys.argv) > 1 else "wss://api.openai.com/v1/realtime?model=gpt-realtime"
HEADERS = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


async def send(connection: websockets.ClientConnection) -> None:
    async for event in client_events():
        await connection.send(json.dumps(event))


async def main() -> None:
    async with (
        websockets.connect(URL, additional_headers=HEADERS) as connection,
        asyncio.TaskGroup() as group,
    ):
        sending = group.create_task(send(connection))
        async for message in connection:
            event = json.loads(message)
            print(event["type"], event.get("transcript", ""), flush=True)
        sending.cancel()


asyncio.run(main())

"""trio, or anyio on either of its backends: utterances in a task.

Needs `pip install trio anyio`.
"""

import trio

from v2m_engine import AudioCapture
from v2m_engine.integrations.anyio import open_stream


async def main() -> None:
    async with open_stream(AudioCapture()) as audio:
        async for segment in audio.segments():
            print(f"{segment.duration:.2f} s of speech", flush=True)


trio.run(main)

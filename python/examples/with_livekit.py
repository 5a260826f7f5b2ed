"""livekit-agents: the microphone as a session's audio; the engine's speech detection as its VAD.

Needs `pip install livekit-agents`. Give the session services for recognition, a language model and
a voice.
"""

import asyncio

from livekit.agents import Agent, AgentSession, UserStateChangedEvent

from v2m_engine.integrations.livekit import VAD, AudioInput


async def main() -> None:
    session: AgentSession[None] = AgentSession(vad=VAD(), turn_handling={"turn_detection": "vad"})
    session.input.audio = AudioInput()

    @session.on("user_state_changed")
    def changed(event: UserStateChangedEvent) -> None:
        print(event.new_state, flush=True)

    await session.start(Agent(instructions="Listen."))
    await asyncio.Event().wait()


asyncio.run(main())

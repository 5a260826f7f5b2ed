"""pipecat: the microphone as a transport; the engine's speech detection drives pipecat's.

Needs `pip install pipecat-ai`. Put services for recognition, a language model and a voice behind
the VAD processor.
"""

import asyncio

from pipecat.frames.frames import Frame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from v2m_engine.integrations.pipecat import V2MTransport, V2MTransportParams, V2MVADAnalyzer


class Print(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, (VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame)):
            print(type(frame).__name__, flush=True)
        await self.push_frame(frame, direction)


async def main() -> None:
    transport = V2MTransport(V2MTransportParams(audio_in_enabled=True))
    vad = VADProcessor(vad_analyzer=V2MVADAnalyzer(transport=transport))
    runner = WorkerRunner()
    await runner.add_workers(PipelineWorker(Pipeline([transport.input(), vad, Print()])))
    await runner.run()


asyncio.run(main())

"""pipecat: an input transport, and a VAD analyzer that takes the engine's own answers.

    transport = V2MTransport(V2MTransportParams(audio_in_enabled=True))
    vad = VADProcessor(vad_analyzer=V2MVADAnalyzer(transport=transport))
    pipeline = Pipeline([transport.input(), vad, stt, ...])

Frames are 32 ms of 16-bit mono at the pipeline's rate; `frame.metadata["capture_time_ns"]` is when
the first sample was captured (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from .. import AudioCapture, AudioStream, OverrunError, V2MError
from . import missing
from ._speech import Judge, Model, Track, window

try:
    import numpy as np
    import soxr
    from loguru import logger
    from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        InputAudioRawFrame,
        StartFrame,
    )
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.transports.base_input import BaseInputTransport
    from pipecat.transports.base_transport import BaseTransport, TransportParams
except ImportError as _error:
    raise missing(__name__, "pipecat-ai", _error) from _error


class V2MTransportParams(TransportParams):
    """Pipecat's, and what to capture.

    Parameters:
        source: as `AudioCapture` takes it; None: the service's, or the default one.
        channel: as `AudioCapture` takes it.
    """

    source: str | None = None
    channel: str | int | None = None


class V2MInputTransport(BaseInputTransport):
    """Captures while the pipeline runs: what `V2MTransport.input()` gives. Pipecat calls its
    methods."""

    _params: V2MTransportParams

    def __init__(self, params: V2MTransportParams) -> None:
        """
        Args:
            params: pipecat's, and what to capture.
        """
        super().__init__(params)
        self.track: Track = Track()
        self._reading: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """Opens the stream, on pipecat's start frame; an engine that can't be had is an error of
        the pipeline."""
        await super().start(frame)
        if not self._params.audio_in_enabled or self._reading is not None:
            return
        await self.set_transport_ready(frame)
        self._reading = self.create_task(self._read())

    async def stop(self, frame: EndFrame) -> None:
        """Closes it, on pipecat's end frame."""
        await self._end()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """Closes it, on pipecat's cancel frame."""
        await self._end()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        """Closes it."""
        await self._end()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _end(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            await self.cancel_task(reading)

    async def _read(self) -> None:
        capture = AudioCapture(
            self.sample_rate,
            window(self.sample_rate),
            source=self._params.source,
            channel=self._params.channel,
            dtype="int16",
        )
        try:
            async with capture.stream() as stream:
                await self._push(stream)
        except V2MError as error:
            await self.push_error(
                f"{self}: {error}", exception=error, force_treat_as_permanent=True
            )
        finally:
            capture.close()

    async def _push(self, stream: AudioStream) -> None:
        while True:
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except OverrunError as overrun:
                logger.warning(f"{self}: {overrun.lost} samples were lost: {overrun}")
                continue
            frame = InputAudioRawFrame(
                audio=bytes(chunk), sample_rate=self.sample_rate, num_channels=1
            )
            frame.metadata["capture_time_ns"] = chunk.time_ns
            self.track.add(frame.audio, chunk)
            await self.push_audio_frame(frame)


class V2MTransport(BaseTransport):
    """The microphone as a transport. For sound take another transport's `output()`."""

    def __init__(self, params: V2MTransportParams) -> None:
        """
        Args:
            params: pipecat's, and what to capture.
        """
        super().__init__()
        self._input = V2MInputTransport(params)

    def input(self) -> V2MInputTransport:
        """The microphone."""
        return self._input

    def output(self) -> NoReturn:
        """There is none: NotImplementedError."""
        raise NotImplementedError(
            "v2m_engine captures and doesn't play: put another transport's output() into the "
            "pipeline, LocalAudioTransport's for instance"
        )


class V2MVADAnalyzer(VADAnalyzer):
    """Pipecat's states, from the engine's probabilities: no model runs for audio of this
    transport that comes unchanged. For any other audio the model runs here."""

    def __init__(
        self,
        *,
        transport: V2MTransport | FrameProcessor | None = None,
        sample_rate: int | None = None,
        params: VADParams | None = None,
    ) -> None:
        """
        Args:
            transport: whose audio it analyzes, or its `input()`; None: any.
            sample_rate: Hz. None: the pipeline's.
            params: pipecat's.
        """
        super().__init__(sample_rate=sample_rate, params=params)
        source = transport.input() if isinstance(transport, V2MTransport) else transport
        self._track = source.track if isinstance(source, V2MInputTransport) else Track()
        self._judge: Judge | None = None

    def set_sample_rate(self, sample_rate: int) -> None:
        """Pipecat calls it, with a sample_rate in Hz that one given to `__init__` overrides."""
        rate = self._init_sample_rate or sample_rate
        self._judge = Judge(self._track, Model(rate, _resampler))
        super().set_sample_rate(sample_rate)

    def num_frames_required(self) -> int:
        """Frames of 32 ms."""
        return window(self.sample_rate)

    def voice_confidence(self, buffer: bytes) -> float:
        """Probability of speech, 0 to 1, in a buffer of 32 ms of int16; pipecat calls it in the
        analyzer's own thread."""
        assert self._judge is not None, "pipecat sets the sample rate first"
        return self._judge.probability(bytes(buffer))


def _resampler(rate: int, to: int) -> Callable[[bytes], bytes]:
    stream = soxr.ResampleStream(rate, to, 1, dtype="int16", quality="QQ")

    def resample(audio: bytes) -> bytes:
        return bytes(stream.resample_chunk(np.frombuffer(audio, np.int16)).tobytes())

    return resample

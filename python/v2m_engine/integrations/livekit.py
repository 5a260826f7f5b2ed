"""livekit-agents: an audio input, and a VAD that takes the engine's own answers.

    session = AgentSession(vad=VAD(), stt=...)
    session.input.audio = AudioInput()
    await session.start(agent)

Frames are 32 ms of mono; `frame.userdata["capture_time_ns"]` is when the first sample was captured
(CLOCK_MONOTONIC). Detached, nothing is captured.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from .. import AudioCapture, AudioChunk, AudioStream, OverrunError, V2MError, VADProcessor
from . import missing
from ._speech import WINDOW, Judge, Model, Track, window

try:
    from livekit import rtc
    from livekit.agents import vad
    from livekit.agents.voice import io
except ImportError as _error:
    raise missing(__name__, "livekit-agents", _error) from _error

_CHUNK = "v2m_engine.chunk"
#: Hz: of which livekit's events count samples.
_MODEL_RATE = 16000


class AudioInput(io.AudioInput):
    """A source's audio, for `session.input.audio`."""

    def __init__(
        self,
        source: str | None = None,
        *,
        sample_rate: int = 24000,
        channel: str | int | None = None,
    ) -> None:
        """
        Args:
            source: as `AudioCapture` takes it; None: the service's, or the default one.
            sample_rate: Hz.
            channel: as `AudioCapture` takes it.

        Raises:
            ValueError: an argument is none of these.
        """
        super().__init__(label="v2m_engine")
        self._rate = sample_rate
        self._capture = AudioCapture(
            sample_rate, window(sample_rate), source=source, channel=channel, dtype="int16"
        )
        self._stream: AudioStream | None = None
        self._attached = asyncio.Event()
        self._attached.set()

    async def __anext__(self) -> rtc.AudioFrame:
        """The next 32 ms, waited for; while it is detached, until it is attached.

        Raises:
            V2MError: the source is gone.
        """
        while True:
            await self._attached.wait()
            stream = self._stream
            try:
                # Closed: whoever opened it was cancelled meanwhile.
                if stream is None or stream.closed:
                    stream = self._stream = self._capture.stream()
                    await stream.__aenter__()
                return _frame(await anext(stream), self._rate)
            except OverrunError:
                continue
            except (StopAsyncIteration, V2MError):
                # Detached meanwhile; else the source has ended, or is gone.
                if self._stream is stream:
                    raise

    def on_attached(self) -> None:
        """Captures from the next frame on."""
        self._attached.set()

    def on_detached(self) -> None:
        """Captures no longer."""
        self._attached.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def aclose(self) -> None:
        """Lets go of the engine."""
        self.on_detached()
        self._capture.close()


def _frame(chunk: AudioChunk, rate: int) -> rtc.AudioFrame:
    known = {"capture_time_ns": chunk.time_ns, _CHUNK: chunk}
    return rtc.AudioFrame(bytes(chunk), rate, 1, len(chunk), userdata=known)


@dataclass(frozen=True)
class _Options:
    """Seconds, but for the thresholds."""

    min_speech_duration: float
    min_silence_duration: float
    prefix_padding_duration: float
    max_buffered_speech: float
    activation_threshold: float
    deactivation_threshold: float


class VAD(vad.VAD):
    """Events as livekit's own VAD gives them, from the engine's probabilities: no model runs for
    frames of `AudioInput`. For any other audio the model runs here."""

    def __init__(
        self,
        *,
        min_speech_duration: float = 0.05,
        min_silence_duration: float = 0.55,
        prefix_padding_duration: float = 0.5,
        max_buffered_speech: float = 60.0,
        activation_threshold: float = 0.5,
        deactivation_threshold: float | None = None,
    ) -> None:
        """
        Args:
            min_speech_duration: seconds of speech before it is said to begin.
            min_silence_duration: seconds of silence before it is said to end.
            prefix_padding_duration: seconds of audio before the speech that its frames have.
            max_buffered_speech: seconds of it that are kept.
            activation_threshold: probability from which on a window is speech.
            deactivation_threshold: below this it is silence. None: 0.15 less.

        Raises:
            ValueError: a time is not finite or less than 0, or a threshold no probability.
        """
        for name, seconds in (
            ("min_speech_duration", min_speech_duration),
            ("min_silence_duration", min_silence_duration),
            ("prefix_padding_duration", prefix_padding_duration),
            ("max_buffered_speech", max_buffered_speech),
        ):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name}={seconds}: must be seconds, zero or more")
        # Refuses thresholds that are none.
        VADProcessor(activation_threshold, neg_threshold=deactivation_threshold)
        super().__init__(capabilities=vad.VADCapabilities(update_interval=WINDOW))
        if deactivation_threshold is None:
            deactivation_threshold = max(activation_threshold - 0.15, 0.01)
        self._options = _Options(
            min_speech_duration,
            min_silence_duration,
            prefix_padding_duration,
            max_buffered_speech,
            activation_threshold,
            deactivation_threshold,
        )

    @property
    def model(self) -> str:
        """silero."""
        return "silero"

    @property
    def provider(self) -> str:
        """v2m_engine."""
        return "v2m_engine"

    @property
    def min_silence_duration(self) -> float:
        """Seconds, as given."""
        return self._options.min_silence_duration

    def stream(self) -> vad.VADStream:
        """Takes frames, gives events."""
        return _Stream(self, self._options)


class _Stream(vad.VADStream):
    def __init__(self, parent: VAD, options: _Options) -> None:
        super().__init__(parent)
        self._options = options

    async def _main_task(self) -> None:
        hearing: _Hearing | None = None
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                hearing = None
                continue
            if hearing is None or hearing.rate != frame.sample_rate:
                hearing = _Hearing(frame.sample_rate, self._options)
            for audio in hearing.windows(frame):
                begun = asyncio.get_running_loop().time()
                # In a thread: it may wait for the engine.
                likely = await asyncio.to_thread(hearing.judge.probability, audio)
                took = asyncio.get_running_loop().time() - begun
                for event in hearing.heard(audio, likely, took):
                    self._event_ch.send_nowait(event)


class _Hearing:
    """One stretch of audio at one rate: what livekit's events say of it."""

    def __init__(self, rate: int, options: _Options) -> None:
        self.rate = rate
        self._options = options
        self._track = Track()
        self.judge = Judge(self._track, Model(rate, _resampler))
        self._pending = bytearray()
        self._kept = bytearray()
        self._samples = 0
        self._speaking = False
        #: Seconds: as events say, and as they add up before one.
        self._speech = self._silence = 0.0
        self._speech_so_far = self._silence_so_far = 0.0

    def windows(self, frame: rtc.AudioFrame) -> list[bytes]:
        """The windows that are complete with this frame."""
        data = bytes(frame.data)
        if (chunk := frame.userdata.get(_CHUNK)) is not None:
            self._track.add(data, chunk)
        self._pending += data
        size = 2 * window(self.rate)
        count = len(self._pending) // size
        found = [bytes(self._pending[i * size : (i + 1) * size]) for i in range(count)]
        del self._pending[: count * size]
        return found

    def heard(self, audio: bytes, likely: float, took: float) -> list[vad.VADEvent]:
        """The events of one more window, judged in `took` seconds."""
        options = self._options
        self._samples += len(audio) // 2
        if len(self._kept) < 2 * self.rate * (
            options.max_buffered_speech + options.prefix_padding_duration
        ):
            self._kept += audio
        if self._speaking:
            self._speech += WINDOW
        else:
            self._silence += WINDOW
        done = self._event(vad.VADEventType.INFERENCE_DONE, audio)
        done.probability, done.inference_duration = likely, took
        events = [done]
        threshold = (
            options.deactivation_threshold if self._speaking else options.activation_threshold
        )
        if likely >= threshold:
            self._speech_so_far += WINDOW
            self._silence_so_far = 0.0
            if not self._speaking and self._speech_so_far >= options.min_speech_duration:
                self._speaking = True
                self._speech, self._silence = self._speech_so_far, 0.0
                events.append(self._event(vad.VADEventType.START_OF_SPEECH, bytes(self._kept)))
            return events
        self._silence_so_far += WINDOW
        self._speech_so_far = 0.0
        if self._speaking and self._silence_so_far >= options.min_silence_duration:
            self._speaking = False
            self._silence = self._silence_so_far
            self._speech = max(0.0, self._speech - self._silence_so_far)
            events.append(self._event(vad.VADEventType.END_OF_SPEECH, bytes(self._kept)))
            self._speech = 0.0
        if not self._speaking:
            # Only the pad before what may follow.
            pad = 2 * int(options.prefix_padding_duration * self.rate)
            del self._kept[: max(0, len(self._kept) - pad)]
        return events

    def _event(self, kind: vad.VADEventType, audio: bytes) -> vad.VADEvent:
        return vad.VADEvent(
            type=kind,
            samples_index=self._samples * _MODEL_RATE // self.rate,
            timestamp=self._samples / self.rate,
            speech_duration=self._speech,
            silence_duration=self._silence,
            frames=[rtc.AudioFrame(audio, self.rate, 1, len(audio) // 2)],
            speaking=self._speaking,
            raw_accumulated_silence=self._silence_so_far,
            raw_accumulated_speech=self._speech_so_far,
        )


def _resampler(rate: int, to: int) -> Callable[[bytes], bytes]:
    resampler = rtc.AudioResampler(rate, to)

    def resample(audio: bytes) -> bytes:
        frame = rtc.AudioFrame(audio, rate, 1, len(audio) // 2)
        return b"".join(bytes(each.data) for each in resampler.push(frame))

    return resample

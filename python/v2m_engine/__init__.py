"""The microphone for speech software: live audio as memory that nobody copied.

>>> capture = AudioCapture(sample_rate=16000, buffer_size=4096)
>>> async with capture.stream() as audio:
...     async for chunk in audio:
...         samples = np.asarray(chunk)  # the engine's own memory, read-only

>>> async with capture.stream() as audio:
...     async for segment in audio.segments():  # an utterance, pads included
...         text = recognise(np.asarray(segment))
"""

from . import _settings as _settings
from ._echo import Echo
from ._events import Event
from ._health import Finding, Health
from ._many import speech_timestamps_many
from ._native import (
    AudioCapture,
    AudioChunk,
    AudioStream,
    DeviceError,
    EngineUnavailableError,
    OverrunError,
    Recording,
    SpeechSegment,
    SpeechSegments,
    StreamEvents,
    Together,
    V2MError,
    VADProcessor,
    VADStream,
    __version__,
    read_audio,
    together,
)
from ._sources import Source, sources
from ._vad_event import VADEvent

__all__ = [
    "AudioCapture",
    "AudioChunk",
    "AudioStream",
    "DeviceError",
    "Echo",
    "EngineUnavailableError",
    "Event",
    "Finding",
    "Health",
    "OverrunError",
    "Recording",
    "Source",
    "SpeechSegment",
    "SpeechSegments",
    "StreamEvents",
    "Together",
    "V2MError",
    "VADEvent",
    "VADProcessor",
    "VADStream",
    "__version__",
    "read_audio",
    "sources",
    "speech_timestamps_many",
    "together",
]

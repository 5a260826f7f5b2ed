"""The microphone for speech software: live audio as memory that nobody copied.

>>> capture = AudioCapture(sample_rate=16000, buffer_size=4096)
>>> async with capture.stream() as audio:
...     async for chunk in audio:
...         samples = np.asarray(chunk)  # the engine's own memory, read-only
"""

from ._native import (
    AudioCapture,
    AudioChunk,
    AudioStream,
    DeviceError,
    EngineUnavailableError,
    OverrunError,
    V2MError,
    __version__,
)

__all__ = [
    "AudioCapture",
    "AudioChunk",
    "AudioStream",
    "DeviceError",
    "EngineUnavailableError",
    "OverrunError",
    "V2MError",
    "__version__",
]

"""Ready classes for frameworks that hear: each module is for one, and imports it.

| module | for | needs |
|---|---|---|
| `pipecat` | an input transport, and a VAD analyzer | `pipecat-ai` |
| `livekit` | an audio input and a VAD for agents | `livekit-agents` |
| `speech_recognition` | a microphone, and phrases | `SpeechRecognition` |
| `realtimestt` | feeding a recorder | `RealtimeSTT` |
| `wyoming` | a microphone server for Home Assistant | `wyoming` |
| `openai_realtime` | 24 kHz frames, and commits | nothing |
| `wake_word` | frames of 80 ms, as openWakeWord takes them | `numpy` |
| `anyio` | streams under anyio and trio | `anyio` |

A framework that is missing is an ImportError that says what to install.
"""

from __future__ import annotations


def missing(ours: str, package: str, error: ImportError) -> ImportError:
    """What a module raises whose framework can't be imported.

    Args:
        ours: the module's name.
        package: what pip calls the framework.
    """
    return ImportError(
        f"{ours} needs {package}, which can't be imported here ({error}): pip install {package}",
        name=error.name,
    )

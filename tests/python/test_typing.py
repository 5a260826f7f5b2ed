"""A program that uses all of it passes the type checkers at their strictest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rig import ROOT

#: By the Node that is beside this interpreter; packaging/setup.sh installs both.
PYRIGHT = [
    Path(sys.executable).with_name("node"),
    ROOT / ".venv/node/node_modules/pyright/index.js",
]

PROGRAM = """
import asyncio
from array import array
from typing import Any

from v2m_engine import (
    AudioCapture,
    AudioChunk,
    AudioStream,
    Event,
    Health,
    OverrunError,
    Recording,
    Source,
    SpeechSegment,
    SpeechSegments,
    StreamEvents,
    VADProcessor,
    sources,
)


def every_kind(capture: AudioCapture, vad: VADProcessor) -> None:
    with capture.stream("quantum", timeout=None, switch_interval=0.001) as audio:
        chunks: list[AudioChunk] = [audio.latest(), *audio]
        data: bytes = bytes(chunks[0])
        view: memoryview = memoryview(audio)
        speech: bool = vad.contains_speech(audio) or vad.contains_speech(data)
        read: array[Any] = audio.read(160, timeout=0.5)
        segments: SpeechSegments = audio.segments(500, partial_ms=300, neg_threshold=0.3)
        if segments.finish():
            last: SpeechSegment = next(segments)
            print(last.final, last.end, last.duration, last.gap, last.copy())
        events: StreamEvents = audio.events()
        for event in events:
            match event:
                case Event(kind="gap", length=length, detail=str(why)):
                    print(length, why)
                case Event(position=position):
                    print(position)
        health: Health = audio.health
        print(view, speech, read, [finding.kind for finding in health])
    found: list[Source] = sources()
    print([source.name for source in found if source.default])
    recording: Recording = capture.record("talk", split=True, threshold=0.4, format="wav32")
    with recording:
        recording.wait(1.0)


async def on_a_loop(audio: AudioStream) -> None:
    async for segment in audio.segments():
        print(segment.position)
    async for event in audio.events():
        print(event.time_ns)


async def main() -> None:
    async with AudioCapture(16000, 320, source=None, dtype="int16").stream() as audio:
        try:
            await asyncio.gather(on_a_loop(audio), asyncio.to_thread(audio.read, 160))
        except OverrunError as error:
            print(error.lost)


asyncio.run(main())
"""
MISTAKES = ("capture.stream(hop=True, hops=1)", 'AudioCapture(dtype="int24")', "sources()[0].nam")


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checkers(tmp_path: Path, checker: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from v2m_engine import AudioCapture, sources\ncapture = AudioCapture()\n"
        + "".join(f"{mistake}\n" for mistake in MISTAKES)
    )
    if checker == "pyright":
        settings = {"typeCheckingMode": "strict", "include": ["*.py"]}
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
        command = [*map(str, PYRIGHT), "--pythonpath", sys.executable]
    else:
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]

    def check(path: Path) -> tuple[int, str]:
        done = subprocess.run(
            [*command, path.name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert check(program)[0] == 0, check(program)[1]
    code, said = check(wrong)
    assert code == 1
    for number, _ in enumerate(MISTAKES, 3):
        assert f"wrong.py:{number}:" in said, said


def test_every_public_name_has_a_type() -> None:
    """As pyright finds them in the package as it is installed; but for what derives from classes
    of frameworks that aren't."""
    frameworks = ("livekit", "pipecat", "speech_recognition")
    command = [*PYRIGHT, "--outputjson", "--verifytypes", "v2m_engine", "--ignoreexternal"]
    done = subprocess.run(
        list(map(str, command)),
        # It asks the first Python there.
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    exported = [one for one in symbols if one["isExported"]]
    assert len(exported) > 300
    assert [
        one["name"]
        for one in exported
        if (one["isTypeAmbiguous"] or not one["isTypeKnown"])
        and not one["name"].startswith(tuple(f"v2m_engine.integrations.{f}" for f in frameworks))
    ] == []

"""The programs in python/examples that are for a framework, as a user runs them. docs/use-with.md
shows them as they are. And those in the pages on choosing and on time."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

from rig import ROOT, PrivatePipeWire
from rig.hearing import WORDS, environment, run_until

EXAMPLES = sorted((ROOT / "python/examples").glob("with_*.py"))


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("with_speech_recognition.py", WORDS),
        ("with_sounddevice.py", r"^0\.[1-9]"),
        ("with_trio.py", r"\d\.\d\d s of speech"),
    ],
)
def test_an_example_hears(speaking: PrivatePipeWire, example: str, said: str) -> None:
    run_until(speaking, said, ROOT / "python/examples" / example)


def test_the_realtime_example_talks_to_a_server(speaking: PrivatePipeWire) -> None:
    async def converse() -> str:
        async def serve(connection: Any) -> None:
            assert connection.request.headers["Authorization"] == "Bearer secret"
            async for message in connection:
                assert json.loads(message)["type"] == "input_audio_buffer.append"
                await connection.send('{"type": "heard", "transcript": "a frame"}')

        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            run: Callable[..., str] = run_until
            return await asyncio.to_thread(
                run,
                speaking,
                "heard a frame",
                ROOT / "python/examples/with_openai_realtime.py",
                f"ws://127.0.0.1:{port}/v1/realtime",
                OPENAI_API_KEY="secret",
            )

    assert asyncio.run(converse())


def test_the_wyoming_example_serves(speaking: PrivatePipeWire) -> None:
    path = speaking.directory / "example.sock"
    running = subprocess.Popen(
        [sys.executable, ROOT / "python/examples/with_wyoming.py", f"unix://{path}"],
        env=environment(speaking),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_shows_the_examples_as_they_are(example: Path) -> None:
    text = example.read_text()
    docstring = ast.parse(text).body[0]
    program = "\n".join(text.splitlines()[docstring.end_lineno :]).strip()
    page = (ROOT / "docs/use-with.md").read_text()
    assert f"`python/examples/{example.name}`:\n\n```python\n{program}\n```" in page


def test_the_page_names_the_versions_that_are_installed() -> None:
    page = (ROOT / "docs/use-with.md").read_text()
    scripts = [(ROOT / f"packaging/{name}.sh").read_text() for name in ("setup", "frameworks")]
    named = re.findall(r"\| .*?\d+\.\d+\.\d+.*", page)
    versions = [version for line in named for version in re.findall(r"\d+\.\d+\.\d+", line)]
    assert len(versions) > 8
    assert [version for version in versions if f"=={version}" not in "".join(scripts)] == []


def programs(page: str) -> list[str]:
    """The Python in a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("program", "said"),
    list(
        zip(
            [*programs("choosing.md"), *programs("time.md")],
            [r"samples were lost|\d+", r"is -?\d+\.\d ms old", r"^20\d\d-\d\d-\d\dT"],
            strict=True,
        )
    ),
)
def test_the_programs_in_a_page_run(speaking: PrivatePipeWire, program: str, said: str) -> None:
    run_until(speaking, said, "-c", program)

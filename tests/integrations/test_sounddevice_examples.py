"""sounddevice's own input examples, as its source distribution has them, on our module.

`packaging/setup.sh test` unpacks them. Those that plot draw into a file instead of a window.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from rig import ROOT, PrivatePipeWire
from rig.hearing import Ear, environment

EXAMPLES = ROOT / "target/sounddevice-0.5.6/examples"
RATE = 16000


def start(rig: PrivatePipeWire, *command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "v2m_engine.compat", *map(str, command)],
        env=environment(rig) | {"COLUMNS": "80", "MPLBACKEND": "agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_rec_unlimited(speaking: PrivatePipeWire, tmp_path: Path) -> None:
    path = tmp_path / "recorded.wav"
    running = start(speaking, EXAMPLES / "rec_unlimited.py", "-r", RATE, path)
    ear, deadline = Ear(RATE), time.monotonic() + 60
    heard = False
    while not heard:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
        # As far as it is written, after a header of 44 bytes.
        done = 44 + 2 * round(ear.seconds * RATE)
        written = path.read_bytes()[done:] if path.exists() else b""
        heard = ear.heard(written[: len(written) // 2 * 2])
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=20)
    assert running.returncode == 0 and "Recording finished" in out, errors
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE and len(samples) >= ear.seconds * RATE


def test_its_device_list(speaking: PrivatePipeWire) -> None:
    for example in ("rec_unlimited.py", "spectrogram.py"):
        out, errors = start(speaking, EXAMPLES / example, "-l").communicate(timeout=60)
        assert re.search(r"^> +0 Rig microphone, v2m-engine \(1 in, 0 out\)$", out, re.M), errors


def test_spectrogram(speaking: PrivatePipeWire) -> None:
    running = start(speaking, EXAMPLES / "spectrogram.py", "-d", "Rig microphone", "-r", 100, 900)
    time.sleep(4)
    assert running.poll() is None
    out, errors = running.communicate("+\nq\n", timeout=20)
    assert running.returncode == 0, errors
    # A line for each 50 ms, coloured where there is a voice.
    lines = [line for line in out.splitlines() if "\x1b[" in line]
    assert len(lines) > 3 and any("#" in line for line in lines), repr(out)


@pytest.mark.parametrize("example", ["asyncio_coroutines.py", "asyncio_generators.py"])
def test_the_input_half_of_duplex_examples(speaking: PrivatePipeWire, example: str) -> None:
    running = start(speaking, EXAMPLES / example)
    out, errors = running.communicate(timeout=60)
    # Then they want to play it.
    assert "v2m_engine captures and doesn't play" in errors.splitlines()[-1]
    if example == "asyncio_coroutines.py":
        assert "playing buffer" in out
    else:
        blocks = [float(line.split()[-1]) for line in out.splitlines() if line.startswith("min:")]
        assert len(blocks) > 50 and max(blocks) > 0.01
        assert "Enough of that" in out


def test_its_plot_and_its_window_are_programs_for_a_screen() -> None:
    """They take matplotlib and Tk, and nothing else of sounddevice's than the others."""
    ours = set(__import__("v2m_engine.compat.sounddevice", fromlist=["x"]).__all__)
    for example in ("plot_input.py", "rec_gui.py"):
        text = (EXAMPLES / example).read_text()
        used = {word.split("(")[0] for word in _names(text)}
        assert used <= ours, used - ours


def test_the_page_says_of_each_whether_it_runs() -> None:
    page = (ROOT / "docs/use-with.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"`{path.name}`" not in page] == []


def _names(text: str) -> list[str]:
    return re.findall(r"\bsd\.(\w+)", text)

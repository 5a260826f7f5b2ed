"""Programs that import an original run on its look-alike, and end as they should."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig.playing import Recording
from v2m_engine import compat
from v2m_engine.compat import pyaudio

RATE = 16000


def test_installing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in compat.MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    compat.install()
    assert sys.modules["pyaudio"] is pyaudio
    compat.install("pyaudio")
    with pytest.raises(ValueError, match="look-alike"):
        compat.install("numpy")
    monkeypatch.setitem(sys.modules, "sounddevice", compat)
    with pytest.raises(RuntimeError, match="imported already"):
        compat.install("sounddevice")


def test_running_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pyaudio, soundcard, sounddevice\n"
        "print(__name__, sys.argv[1:], sys.path[0], pyaudio.__name__)\n"
    )
    run: Callable[..., Any] = subprocess.run
    done = run(
        [sys.executable, "-m", "v2m_engine.compat", program, "-m", "x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == (f"__main__ ['-m', 'x'] {tmp_path} v2m_engine.compat.pyaudio\n"), (
        done.stderr
    )
    done = run(
        [sys.executable, "-m", "v2m_engine.compat"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "usage" in done.stderr


@pytest.mark.parametrize(
    "opened",
    [
        "stream = sd.InputStream({rate}, device={source!r}, channels=1, callback=lambda *_: None)\n"
        "stream.start()",
        "sd.rec(100 * {rate}, {rate}, 1, device={source!r})",
        "stream = sd.InputStream({rate}, device={source!r}, channels=1)\n"
        "stream.start()\n"
        "threading.Thread(target=stream.read, args=[100 * {rate}], daemon=True).start()",
    ],
    ids=["callback", "rec", "read"],
)
def test_a_program_that_just_ends(recording: Recording, opened: str) -> None:
    """Its threads wait for audio then; nothing hangs, crashes or stays behind."""
    program = (
        "import threading, time\n"
        "import v2m_engine.compat.sounddevice as sd\n"
        f"{opened.format(rate=RATE, source=recording.source)}\n"
        "time.sleep(0.3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize(
    "wait", ["stream.read(100 * 16000)", "sd.rec(1600000, 16000, 1, **known); sd.wait()"]
)
def test_ctrl_c_interrupts(recording: Recording, wait: str) -> None:
    program = (
        "import v2m_engine.compat.sounddevice as sd\n"
        f"known = dict(device={recording.source!r})\n"
        "with sd.InputStream(16000, channels=1, **known) as stream:\n"
        "    print('open', flush=True)\n"
        f"    {wait}\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "open\n"
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"

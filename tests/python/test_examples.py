"""The programs in python/examples, as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from rig import ROOT
from rig.playing import write_wav
from rig.speech import read_pocketsphinx

EXAMPLES = ROOT / "python/examples"
RECORDINGS = Path("/usr/share/pocketsphinx/test/data")


def play(path: Path) -> str:
    """A source in which a man says "go forward ten meters" from 1 s on."""
    words = read_pocketsphinx(RECORDINGS / "goforward.raw")
    quiet = np.zeros(8000, np.float32)
    audio = np.concatenate([quiet, words, quiet, quiet])
    write_wav(path, (audio * 32768).astype(np.int16))
    return f"file:{path}"


def run(example: str, *arguments: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_dictation(tmp_path: Path) -> None:
    text, _ = run("dictate.py", play(tmp_path / "words.wav"))
    (line,) = text.splitlines()
    assert line.endswith("go forward ten meters"), text


def test_live_shows_levels_and_speech(tmp_path: Path) -> None:
    source = play(tmp_path / "words.wav")
    text, errors = run("live.py", source)
    assert source in errors
    assert sum("SPEECH of" in line for line in text.splitlines()) == 1
    levels = [line for line in text.splitlines() if "ms old" in line]
    assert any("100% speech" in line for line in levels)
    assert any("  0% speech" in line or "  1% speech" in line for line in levels)


def test_an_example_without_a_source(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "dictate.py", f"file:{tmp_path}/none.wav"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "none.wav" in done.stderr and "Traceback" not in done.stderr

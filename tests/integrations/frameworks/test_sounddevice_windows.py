"""sounddevice's own input examples that open windows, on an X server that nobody sees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from rig import ROOT, PrivatePipeWire
from rig.hearing import WORDS, environment, recognised

EXAMPLES = ROOT / "target/sounddevice-0.5.6/examples"


@pytest.fixture
def display() -> Iterator[str]:
    """A number that is free."""
    server = shutil.which("Xvfb")
    assert server, "Xvfb is missing: packaging/setup.sh test installs it"
    read, write = os.pipe()
    command = [server, "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    running = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as told:
        yield f":{told.readline().strip()}"
    running.terminate()
    running.wait(10)


def drive(rig: PrivatePipeWire, display: str, directory: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, EXAMPLES],
        cwd=directory,
        env=environment(rig) | {"DISPLAY": display, "MPLCONFIGDIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rec_gui(speaking: PrivatePipeWire, display: str, tmp_path: Path) -> None:
    program = """
import runpy, sys
import v2m_engine.compat
v2m_engine.compat.install()
example = runpy.run_path(sys.argv[1] + "/rec_gui.py")
app = example["RecGui"]()
app.after(200, app.on_rec)
app.after(6200, app.on_stop)
app.after(8000, lambda: (print(app.status_label["text"], app.meter["value"]), app.close_window()))
app.mainloop()
"""
    # A graph on a busy machine may lose some, and says so.
    assert re.match(r"input overflows: \d+ \d", drive(speaking, display, tmp_path, program))
    (path,) = tmp_path.glob("delme_rec_gui_*.wav")
    samples, rate = soundfile.read(str(path))
    assert WORDS in recognised(samples, rate)


def test_plot_input(speaking: PrivatePipeWire, display: str, tmp_path: Path) -> None:
    program = """
import os, runpy, sys, threading
import v2m_engine.compat
v2m_engine.compat.install()
import matplotlib.pyplot as plt
shown = []
def look():
    shown.append(abs(plt.gcf().axes[0].lines[0].get_ydata()).max())
    if len(shown) < 30:
        threading.Timer(0.1, look).start()
    else:
        print(max(shown), min(shown), flush=True)
        os._exit(0)
threading.Timer(3, look).start()
sys.argv = [sys.argv[1] + "/plot_input.py"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    loudest, softest = map(float, drive(speaking, display, tmp_path, program).split())
    assert loudest > 0.05 and softest < loudest / 2

"""How regularly audio comes: both backends, with and without real time, idle and under load.

Each block that the audio thread hands over is compared with the moment at which the most
punctual block of the same run sets it: what is shown is how much later than that blocks came.
PipeWire is a private daemon with a virtual microphone; ALSA is an I/O plugin of alsa-lib
(``tests/rig/alsa_mic.c``) whose interrupt is a kernel timer, as these numbers must not depend
on a sound card. "Without real time" takes CAP_SYS_NICE and RLIMIT_RTPRIO from the daemon and
the engine alike. The load is one process on each core that does nothing but count.

Usage: python benches/jitter.py [--seconds 10] [--period 256]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig import ROOT
from rig.alsa import AlsaMic

#: Runs a command without any right to real time.
ORDINARY = ["prlimit", "--rtprio=0", "--nice=0"]
if os.geteuid() == 0:
    ORDINARY += ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]


def build() -> str:
    """The path of the capture side."""
    command = ["cargo", "bench", "--bench", "jitter", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "jitter":
            return str(message["executable"])
    raise SystemExit("cargo built no jitter")


@contextmanager
def hogs(wanted: bool) -> Iterator[None]:
    """One process on each core that never waits."""
    command = [sys.executable, "-c", "while True: pass"]
    count = (os.cpu_count() or 1) if wanted else 0
    running = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(command: list[str], real_time: bool, env: dict[str, str]) -> dict[str, Any]:
    """One run's report."""
    whole = command if real_time else [*ORDINARY, *command]
    done = subprocess.run(whole, env=env, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--period", type=int, default=256, help="frames at 48 kHz")
    options = parser.parse_args()
    program, period, seconds = build(), str(options.period), str(options.seconds)
    machine = os.uname()
    print(f"period {period}/48000, {os.cpu_count()} cores, Linux {machine.release}")
    print(f"blocks later than the most punctual one, µs, {seconds} s each:")
    print(
        f"  {'backend':<10}{'load':<14}{'audio thread':<26}"
        f"{'p50':>8}{'p99':>9}{'p99.9':>9}{'max':>10}{'lost':>8}"
    )
    with tempfile.TemporaryDirectory() as directory:
        mic = AlsaMic(Path(directory))
        rig = [sys.executable, "-m", "rig", "run", "--quantum", period]
        backends = {
            "pipewire": [*rig, "--", program, "pipewire", period, seconds],
            "alsa": [program, "alsa:mic", period, seconds],
        }
        for backend, command in backends.items():
            for real_time in (True, False):
                for load in (False, True):
                    with hogs(load):
                        report = measure(command, real_time, os.environ | mic.env)
                    late = sorted(report["late_ns"]) or [0]
                    row = [
                        late[int((len(late) - 1) * share)] / 1000 for share in (0.5, 0.99, 0.999)
                    ]
                    p50, p99, p999 = row
                    beside = "hog each core" if load else "idle"
                    print(
                        f"  {backend:<10}{beside:<14}{report['scheduling']:<26}"
                        f"{p50:>8.0f}{p99:>9.0f}{p999:>9.0f}{late[-1] / 1000:>10.0f}"
                        f"{report['lost']:>8}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

"""What `v2m-engine monitor` costs: share of a core, and bytes to the terminal.

On a private PipeWire with recorded speech, at two quanta and two terminal sizes; beside it,
in the same run, a reader that only waits for every quantum (`reader crowd 1 0`). The
monitor's promise is under 3 % of a core.

Usage: python benches/monitor.py [--seconds 10]
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from stage import ENGINE, PrivatePipeWire, build_bench, cpu_s, engine, write_speech


def drain(terminal: int, seconds: float) -> int:
    """Reads what is written to a terminal for so long; how many bytes that was."""
    end, received = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            received += len(os.read(terminal, 65536))
    return received


def monitor(columns: int, rows: int, seconds: float) -> tuple[float, float]:
    """The monitor's share of a core, and bytes a second."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    env = os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        [ENGINE, "monitor"], stdin=its, stdout=its, env=env, start_new_session=True
    )
    try:
        drain(ours, 3)
        before = cpu_s(process.pid)
        received = drain(ours, seconds)
        return (cpu_s(process.pid) - before) / seconds, received / seconds
    finally:
        process.terminate()
        drain(ours, 0.5)
        process.wait(10)
        os.close(ours)
        os.close(its)


def plain(reader: str, seconds: float) -> float:
    """The share of a core of a reader that is woken by every quantum."""
    process = subprocess.Popen(
        [reader, "crowd", "1", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    process.stdout.readline()
    before = cpu_s(process.pid)
    time.sleep(seconds)
    share = (cpu_s(process.pid) - before) / seconds
    process.communicate(b"\n", timeout=10)
    return share


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    seconds = parser.parse_args().seconds
    reader = build_bench("reader")
    print(f"\nthe monitor, {seconds:.0f} s each: share of a core, bytes a second to the terminal")
    with tempfile.TemporaryDirectory() as directory:
        speech = Path(directory) / "speech.f32"
        write_speech(speech)
        for quantum in (128, 1024):
            with PrivatePipeWire(quantum=quantum) as rig, engine(rig):
                rig.play(speech, "rig-mic", loop=True)
                for columns, rows in ((80, 24), (200, 60)):
                    share, rate = monitor(columns, rows, seconds)
                    name = f"quantum {quantum}, {columns} x {rows}"
                    print(f"  {name:<28}{share:>8.2%}{rate:>9.0f} B/s")
                name = f"quantum {quantum}, plain reader"
                print(f"  {name:<28}{plain(reader, seconds):>8.2%}")


if __name__ == "__main__":
    main()

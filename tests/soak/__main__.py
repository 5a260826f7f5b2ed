"""Everything that happens on a machine, for as long as you like; see `soak`.

python -m soak [--hours 2 | --seconds 90] [--seed N] [--report FILE]
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rig import ROOT
from soak.faults import inject
from soak.machine import Machine
from soak.report import Report

#: A fault that lasts does so for so long at most, and the engine remembers so much.
SHORT = (4.0, 4)
LONG = (30.0, 20)


def soak(seconds: float, seed: int, directory: Path) -> Report:
    """One run, of which only the directory's files stay."""
    longest, history = SHORT if seconds < 600 else LONG
    lengths = (longest * 2, longest * 4)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic_ns() / 1e9:.3f} {text}", file=sys.stderr, flush=True)

    with Machine(directory, random.Random(seed), history, lengths) as machine:
        over = threading.Event()
        watch = threading.Thread(target=tell, args=(machine, over, say))
        watch.start()
        try:
            injected = inject(machine, seed, seconds, longest, say)
        finally:
            over.set()
            watch.join()
        # Whatever is the matter is over by now.
        machine.command("unmute")
        time.sleep(3)
        return Report.of(machine, seed, time.monotonic() - began, injected)


def tell(machine: Machine, over: threading.Event, say: Callable[[str], None]) -> None:
    """Says what is found while it goes on."""
    told: set[str] = set()
    while not over.wait(5):
        for wrong in machine.wrong_so_far():
            if wrong not in told:
                told.add(wrong)
                say(f"FOUND {wrong}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=0.0, help="fractions are allowed")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, help="repeats what was drawn from it")
    parser.add_argument("--report", type=Path, help="where to keep the result as JSON")
    options = parser.parse_args()
    # What was mounted and started is taken down in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seconds = options.hours * 3600 + options.seconds or 90
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    place = ROOT / "target/soak"
    place.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=place))
    report = soak(seconds, seed, directory)
    print(report.text())
    if report.wrong:
        print(f"The logs are in {directory}")
    else:
        shutil.rmtree(directory)
    report.write(options.report or place / "report.json")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

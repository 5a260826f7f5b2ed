"""Everybody on the same impulses: the engine's readers and what people use today.

Usage: python benches/peers/run.py [--quantum 256] [--duration 12] [--rounds N]
                                   [--only NAME ...] [--load none|gil] [--document [DOCS]]

Prints a Markdown table and writes {none,gil}.{json,svg} into target/peers. With --document
it makes every measurement of docs/benchmarks.md, and writes that and what README quotes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from document import BEGIN, END, table, write
from install import PLACE, ROOT, say
from receivers import all_peers

from rig import BINARY
from rig.session import MICROPHONE, Session

PYTHON = ROOT / ".venv/bin/python"
DOCS = ROOT / "docs"

# Turns of each receiver.
ROUNDS = {"none": 6, "gil": 4}
# What the engine asks for unless told otherwise.
OWN_QUANTUM = 128

Report = dict[str, Any]


def bench(result: Path, *arguments: str, env: dict[str, str] | None = None) -> Report:
    """One run of `v2m-engine bench latency`; its report goes to `result`, beside its picture."""
    command = [str(BINARY), "bench", "latency", "--python", str(PYTHON), *arguments]
    command += ["--json", str(result), "--svg", str(result.with_suffix(".svg"))]
    say(f"{result.stem}: {' '.join(command[1:])}")
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench {result.stem} failed with status {done.returncode}")
    report: Report = json.loads(result.read_text())
    return report


def among_peers(load: str, quantum: int, options: argparse.Namespace) -> Report:
    """All receivers in one private session; under a GIL hog those in Python, at their best."""
    peers = all_peers(quantum)
    if options.only:
        wanted = [name.lower() for name in options.only]
        peers = [p for p in peers if any(name in p.name.lower() for name in wanted)]
    if load == "gil":
        peers = [p for p in peers if p.python and p.form == "best"]
    specs = options.results / "receivers.json"
    specs.write_text(json.dumps([peer.spec(quantum) for peer in peers], indent=1))
    with Session(quantum) as session:
        report = bench(
            options.results / f"{load}.json",
            *("--node", MICROPHONE, "--quantum", str(quantum), "--load", load),
            *("--duration", str(options.duration)),
            *("--rounds", str(options.rounds or ROUNDS[load])),
            *("--peers", str(specs)),
            env=session.env,
        )
        session.check()
        return report


def document(options: argparse.Namespace, docs: Path) -> None:
    """All that benchmarks.md reports, from one machine in one go."""
    place, seconds = options.results, max(1, options.duration // 2)
    few = ("--duration", str(seconds), "--rounds", str(options.rounds or 2))
    own_quantum = ("--quantum", str(OWN_QUANTUM), *few)
    reports = {
        "none": among_peers("none", options.quantum, options),
        # The engine's own quantum: the time is the GIL's, not the cycle's.
        "gil": among_peers("gil", OWN_QUANTUM, options),
        "budget": bench(place / "budget.json", "--private", *own_quantum),
        "stock": bench(place / "stock.json", "--stock", *own_quantum),
        "cpu": bench(
            place / "cpu.json",
            "--private",
            "--load",
            "cpu",
            "--quantum",
            str(options.quantum),
            *few,
        ),
    }
    scaling = [str(PYTHON), str(ROOT / "benches/scaling.py")]
    scaling += ["--rounds", str(options.rounds or 3), "--seconds", str(min(seconds, 2))]
    say("scaling")
    crowd = subprocess.run(scaling, stdout=subprocess.PIPE, text=True, check=True).stdout
    readme = docs / "README.md"
    if docs == DOCS:
        readme = ROOT / "README.md"
    elif not readme.exists():
        readme.write_text(f"{BEGIN}\n{END}\n")
    write(reports, crowd, place, docs, readme)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quantum", type=int, default=256, help="of the graph, for everybody")
    parser.add_argument("--duration", type=int, default=12, help="seconds for each receiver")
    parser.add_argument("--rounds", type=int, help="turns to spread them over")
    parser.add_argument("--load", choices=("none", "gil"), default="none")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers whose name has this in it")
    parser.add_argument(
        "--document", nargs="?", type=Path, const=DOCS, help="write benchmarks.md [into docs/]"
    )
    parser.add_argument("--results", type=Path, default=PLACE, help="where reports go")
    options = parser.parse_args()
    options.results = options.results.resolve()
    options.results.mkdir(parents=True, exist_ok=True)
    if options.document:
        document(options, options.document.resolve())
        return
    report = among_peers(options.load, options.quantum, options)
    print(table(report))
    print(f"\nPicture: {os.path.relpath(options.results / options.load)}.svg")


if __name__ == "__main__":
    main()

"""The whole engine while one client listens: CPU time, and what speech detection costs in it.

    python benches/listening.py [SECONDS]

Speech is played into a private PipeWire in real time, at the quantum that the engine asks
for. CPU time is the kernel's count for the engine's process, in percent of one core, with
and without speech detection, and for each thread. The aim is less than 2 % of one core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rig import ROOT, PrivatePipeWire
from rig.vad_reference import dictation

BINARY = Path(os.environ.get("V2M_ENGINE_BIN", ROOT / "target/release/v2m-engine"))

# A client as lean as it gets: it wakes with every quantum and looks at the newest sample.
CLIENT = """
from v2m_engine import AudioCapture
with AudioCapture(engine="service", buffer_size=512).stream(hop="quantum") as stream:
    print("listening", flush=True)
    for chunk in stream:
        chunk.position
"""


def times(pid: int) -> dict[str, float]:
    """CPU seconds of each thread, to the nanosecond (schedstat), by its name."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        ns = int((task / "schedstat").read_text().split()[0])
        found[name] = found.get(name, 0.0) + ns / 1e9
    return found


def status(env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [BINARY, "status", "--json"], env=env, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def answers(env: dict[str, str]) -> bool:
    done = subprocess.run([BINARY, "status"], env=env, capture_output=True, check=False)
    return done.returncode == 0


def measure(rig: PrivatePipeWire, seconds: float, backend: str) -> dict[str, Any]:
    env = rig.env | {"HOME": str(rig.directory)}
    engine = subprocess.Popen(
        [BINARY, "run", "--log", "error", "--vad-backend", backend], env=env, text=True
    )
    client = None
    try:
        rig.wait_for(lambda: answers(env), "the engine to answer")
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT], env=env, stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        client.stdout.readline()
        rig.wait_for_links("rig-mic", "v2m-engine")
        time.sleep(2)
        before, start = times(engine.pid), time.monotonic()
        time.sleep(seconds)
        after, elapsed = times(engine.pid), time.monotonic() - start
        result = status(env)
        result["cpu"] = {name: (after[name] - before.get(name, 0)) / elapsed for name in after}
        return result
    finally:
        if client is not None:
            client.kill()
            client.wait()
        engine.terminate()
        engine.wait()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as place, PrivatePipeWire() as rig:
        speech = Path(place) / "speech.f32"
        np.repeat(dictation(1), 3).tofile(speech)
        rig.play(str(speech), "rig-mic", loop=True)
        for backend in ("off", "native"):
            found = measure(rig, seconds, backend)
            source = found["source"]
            total = sum(found["cpu"].values())
            quantum = f"quantum {source['quantum']}/{source['rate']}"
            print(f"engine, speech detection {backend}, {quantum}: {total:.2%} of one core")
            for name, share in sorted(found["cpu"].items(), key=lambda item: -item[1]):
                if share >= 0.0001:
                    print(f"  {name:16} {share:.2%}")
        vad = found["vad"]
        cost, delay = vad["cost_us"], vad["delay_us"]
        print(f"{vad['model']}; {vad['scheduling']}, {vad['windows']} windows")
        print(f"  one window in the worker: {cost['p50']:.1f} us median, {cost['p99']:.1f} p99")
        print(
            f"  from its last sample in the ring to its probability there: "
            f"{delay['p50']:.1f} us median, {delay['p99']:.1f} p99, "
            f"{delay['p50'] / cost['p50']:.2f} x the worker's own time"
        )


if __name__ == "__main__":
    main()

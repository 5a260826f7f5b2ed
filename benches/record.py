"""What recording costs: this recorder by io_uring and by plain writes, beside
`pw-record` and `arecord`, all writing the same stream (mono float at 16 kHz) in the
same run, on a private PipeWire with a session manager.

CPU is that of each process for an hour of audio, as it would take at this rate; the
engine's own, which all readers share, stands beside it. System calls are counted by
strace in runs of their own.

Usage: python benches/record.py [--seconds 30] [--quantum 256]
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage import ENGINE, ROOT, PrivatePipeWire, cpu_s, engine


@contextmanager
def session_manager(env: dict[str, str]) -> Iterator[None]:
    """WirePlumber, without which streams such as pw-record's are not connected."""
    manager = subprocess.Popen(
        ["dbus-run-session", "--", "wireplumber"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        time.sleep(3)
        yield
    finally:
        os.killpg(manager.pid, signal.SIGTERM)
        manager.wait(10)


def make_noise(path: Path) -> None:
    """Ten seconds of it, raw float at 48 kHz."""
    import numpy as np

    samples = np.random.default_rng(1).uniform(-0.3, 0.3, 480_000)
    samples.astype(np.float32).tofile(path)


def commands(directory: Path, seconds: float) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each recorder's command and environment."""
    into = shlex.quote(str(directory))
    ours = f"{shlex.quote(str(ENGINE))} record --seconds {seconds} --overwrite {into}"
    lines = {
        "v2m-engine, io_uring": (f"{ours}/a.wav", {}),
        "v2m-engine, plain writes": (f"{ours}/b.wav", {"V2M_ENGINE_NO_IO_URING": "1"}),
        "v2m-engine, FLAC": (f"{ours}/c.flac", {}),
        "pw-record": (
            f"pw-record --target rig-mic --rate 16000 --channels 1 --format f32 {into}/d.wav",
            {},
        ),
        "arecord": (
            f"arecord -q -D pipewire -f FLOAT_LE -r 16000 -c 1 {into}/e.wav",
            {},
        ),
    }
    return {name: (shlex.split(line), env) for name, (line, env) in lines.items()}


def measure(
    env: dict[str, str], engine: int, directory: Path, seconds: float
) -> tuple[dict[str, tuple[float, int]], float]:
    """CPU seconds and bytes written of each, all at once; and the engine's share."""
    running = {
        name: subprocess.Popen(command, env=env | extra)
        for name, (command, extra) in commands(directory, 3600).items()
    }
    time.sleep(2)
    before, engine_before = {n: cpu_s(p.pid) for n, p in running.items()}, cpu_s(engine)
    time.sleep(seconds)
    costs = {name: cpu_s(p.pid) - before[name] for name, p in running.items()}
    share = cpu_s(engine) - engine_before
    results = {}
    for name, process in running.items():
        process.send_signal(signal.SIGINT)
        process.wait(20)
        path = Path(commands(directory, 0)[name][0][-1])
        results[name] = costs[name], path.stat().st_size
    return results, share


def system_calls(env: dict[str, str], directory: Path, seconds: float) -> dict[str, float]:
    """System calls for a second of audio, start and end left out."""
    counts = {}
    for name, (command, extra) in commands(directory, 3600).items():
        report = directory / "strace"
        process = subprocess.Popen(command, env=env | extra)
        time.sleep(2)
        trace = ["strace", "-f", "-q", "-c", "-o", str(report), "-p", str(process.pid)]
        tracer = subprocess.Popen(trace, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        # Share, seconds, microseconds a call, calls, perhaps errors, "total".
        total = re.search(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total$", report.read_text(), re.MULTILINE)
        counts[name] = int(total[1]) / seconds if total else 0.0
    return counts


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="of audio")
    parser.add_argument("--quantum", type=int, default=256)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=ROOT / "target") as name,
        PrivatePipeWire(quantum=options.quantum) as rig,
    ):
        directory = Path(name)
        make_noise(directory / "noise.f32")
        env = rig.env | {"HOME": name, "XDG_CONFIG_HOME": name, "XDG_STATE_HOME": name}
        noise = str(directory / "noise.f32")
        with (
            session_manager(env),
            engine(rig) as (pid, _),
            rig.play(noise, "rig-mic", loop=True),
        ):
            results, share = measure(env, pid, directory, options.seconds)
            calls = system_calls(env, directory, min(10.0, options.seconds))
    print(
        f"recording mono at 16 kHz, {options.seconds:.0f} s, quantum {options.quantum}/48000, "
        f"{os.cpu_count()} cores, Linux {os.uname().release}"
    )
    print(f"  {'':<28}{'CPU s/h':>9}{'of pw-record':>14}{'calls/s':>10}{'MB':>8}")
    floor = results["pw-record"][0] or 0.01
    for name, (cost, size) in results.items():
        hour = cost * 3600 / options.seconds
        print(
            f"  {name:<28}{hour:>9.1f}{cost / floor:>13.2f}x{calls[name]:>10.1f}{size / 1e6:>8.2f}"
        )
    print(f"  {'the engine, for all readers':<28}{share * 3600 / options.seconds:>9.1f}")


if __name__ == "__main__":
    main()

"""What the benches share: the private PipeWire, engines in it, plain readers, CPU time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig import BINARY, ROOT, PrivatePipeWire
from rig.demo import write_speech

__all__ = [
    "ENGINE",
    "ROOT",
    "PrivatePipeWire",
    "build_bench",
    "build_filter",
    "build_watcher",
    "copying_filters",
    "cpu_s",
    "crowd",
    "empty_filter",
    "engine",
    "timers",
    "write_speech",
]

ENGINE = BINARY


def build_bench(name: str) -> str:
    """The path of a program in Rust: the plain reader, or the sources on one thread."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", name, "--no-run", "--message-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return str(message["executable"])
    raise SystemExit(f"cargo built no {name}")


def build_watcher(directory: Path) -> Path:
    """The library that measures the callback."""
    source = ROOT / "tests/realtime/rtcheck.c"
    return _compile(source, directory / "rtcheck.so", "-shared", "-fPIC")


def build_filter(directory: Path, name: str) -> Path:
    """A filter of these benches: the one that does nothing, or those that copy."""
    return _compile(ROOT / "benches" / f"{name}.c", directory / name)


def _compile(source: Path, target: Path, *options: str) -> Path:
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libpipewire-0.3"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    command = ["cc", "-O2", *options, "-o", str(target), str(source), *flags, "-ldl"]
    subprocess.run(command, check=True)
    return target


def cpu_s(pid: int) -> float:
    """CPU time that the threads of a process have had so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def engine(rig: PrivatePipeWire, name: str = "v2m-engine", **env: str) -> Iterator[tuple[int, str]]:
    """An engine that captures the virtual microphone: its process id and socket.

    Clients of this process find it, the last one if there are several.
    """
    path = str(rig.directory / name / "engine.sock")
    environment = rig.env | env | {"V2M_ENGINE_SOCKET": path}
    command = [ENGINE, "run", "--log", "error", "--node-name", name, "--capture", "always"]
    process = subprocess.Popen(command, env=environment)
    before = os.environ.get("V2M_ENGINE_SOCKET")
    try:
        # pw-dump can't be read while a session manager changes the graph.
        rig.wait_for(lambda: _linked(rig, name), f"a link to {name}")
        os.environ["V2M_ENGINE_SOCKET"] = path
        yield process.pid, path
    finally:
        os.environ.pop("V2M_ENGINE_SOCKET", None)
        if before is not None:
            os.environ["V2M_ENGINE_SOCKET"] = before
        process.terminate()
        process.wait(10)


@contextmanager
def empty_filter(rig: PrivatePipeWire, program: Path, name: str, beside: str) -> Iterator[None]:
    """A filter that does nothing, in real time as an engine, linked to what the node
    `beside` is linked to."""
    output = next(a for a, b in rig.links() if b.startswith(f"{beside}:"))
    environment = rig.env | {"PIPEWIRE_CONFIG_NAME": "client-rt.conf"}
    with subprocess.Popen([program, name, "256/48000"], env=environment) as process:
        try:
            rig.wait_for_node(name)
            rig.link(output, f"{name}:input")
            yield
        finally:
            process.terminate()


@contextmanager
def copying_filters(rig: PrivatePipeWire, program: Path, count: int, **env: str) -> Iterator[None]:
    """So many filters of one process that copy what they hear, each of a source of its own."""
    environment = rig.env | env | {"PIPEWIRE_CONFIG_NAME": "client-rt.conf"}
    with subprocess.Popen([program, "256/48000", str(count)], env=environment) as process:
        try:
            for number in range(count):
                rig.wait_for_node(f"copy-{number}")
                source = f"mic-{number}" if number else "rig-mic"
                rig.link(f"{source}:capture_MONO", f"copy-{number}:input")
            yield
        finally:
            process.terminate()


def _linked(rig: PrivatePipeWire, name: str) -> bool:
    try:
        return any(target.startswith(f"{name}:") for _, target in rig.links())
    except json.JSONDecodeError:
        return False


@contextmanager
def crowd(reader: str, socket: str, waiting: int, stuck: int = 0) -> Iterator[int]:
    """So many readers that wait for every quantum, and that only hold the ring, in one
    process; its id."""
    environment = os.environ | {"V2M_ENGINE_SOCKET": socket}
    with _until_closed([reader, "crowd", str(waiting), str(stuck)], environment) as pid:
        yield pid


@contextmanager
def timers(reader: str, count: int) -> Iterator[None]:
    """So many threads that a clock wakes once a quantum, for nothing, in one process."""
    with _until_closed([reader, "timers", str(count)], dict(os.environ)):
        yield


@contextmanager
def _until_closed(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        yield process.pid
        process.stdin.close()

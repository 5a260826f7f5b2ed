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
    "build_filters",
    "build_watcher",
    "cpu_s",
    "crowd",
    "engine",
    "linked_filters",
    "output_of",
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


def build_filters(directory: Path) -> Path:
    """The program of filters that do nothing, or copy."""
    return _compile(ROOT / "benches/filters.c", directory / "filters")


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


def output_of(rig: PrivatePipeWire, node: str) -> str:
    """The port that a node hears."""
    return next(output for output, target in rig.links() if target.startswith(f"{node}:"))


@contextmanager
def linked_filters(
    rig: PrivatePipeWire, program: Path, kind: str, heard: dict[str, str], **env: str
) -> Iterator[None]:
    """Filters of one process, in real time as an engine, that look at nothing ("empty") or
    copy what they hear ("copy"); for each name the port that it hears."""
    environment = rig.env | env | {"PIPEWIRE_CONFIG_NAME": "client-rt.conf"}
    with subprocess.Popen([program, kind, "256/48000", *heard], env=environment) as process:
        try:
            for name, output in heard.items():
                rig.wait_for_node(name)
                rig.link(output, f"{name}:input")
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

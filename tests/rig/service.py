"""The engine as a service beside a private PipeWire."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rig import BINARY, PrivatePipeWire, wait_until

RATE = 16_000
NS_PER_SAMPLE = 62_500
QUANTUM = 256
#: One quantum; a reading may come in the middle of a window's samples.
TOLERANCE_S = QUANTUM / 48_000 + 0.001


class Engine:
    """The service beside a private PipeWire, in that daemon's runtime directory."""

    def __init__(
        self, rig: PrivatePipeWire, *arguments: str, before: Sequence[str] = (), **env: str
    ) -> None:
        """``before``: programs that run the engine."""
        self.rig = rig
        # Most tests look at the node without being a client.
        policy = () if "--capture" in arguments else ("--capture", "always")
        log = () if "--log" in arguments else ("--log", "debug")
        self.process = subprocess.Popen(
            [*before, BINARY, "run", *log, *policy, *arguments],
            env=rig.env | {"HOME": str(rig.directory)} | env,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 15
        while not self._answers() and self.process.poll() is None:
            assert time.monotonic() < deadline, "the engine does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        done = subprocess.run(
            [BINARY, "status"], env=self.rig.env, capture_output=True, timeout=20, check=False
        )
        return done.returncode == 0

    @property
    def socket(self) -> str:
        return str(self.rig.directory / "v2m-engine/engine.sock")

    def stop(self) -> str:
        """Stops it and returns its log."""
        self.process.terminate()
        try:
            log = self.process.communicate(timeout=15)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            log = self.process.communicate()[1]
            raise AssertionError(f"the engine did not stop\n{log}") from None
        assert self.process.returncode == 0, log
        assert "panicked" not in log, log
        return log

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process.poll() is None:
            try:
                log = self.stop()
            except AssertionError:
                if kind is None:
                    raise
                return
            if kind is not None:
                print("engine's log:\n" + log[-8000:])


def command(rig: PrivatePipeWire, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BINARY, *arguments],
        env=rig.env | {"HOME": str(rig.directory)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def status(rig: PrivatePipeWire) -> dict[str, Any]:
    done = command(rig, "status", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def tone(rig: PrivatePipeWire, path: Path, value: float) -> Path:
    """A constant, as raw f32: tells one source from another."""
    np.full(48_000, value, np.float32).tofile(path)
    return path


def wait_for_level(chunks: Any, level: float) -> Any:
    """The next chunk without a gap that holds this constant."""
    for _ in range(2000):
        chunk = next(chunks)
        if not chunk.gap and np.allclose(np.asarray(chunk), level, atol=5e-3):
            return chunk
    raise AssertionError(f"no audio at {level}, the last was {np.asarray(chunk)[:3]}")


def running(rig: PrivatePipeWire) -> dict[str, Any]:
    """The status, once audio comes and has done so for a while."""
    wait_until(lambda: status(rig)["state"] == "running", "audio", seconds=30)
    before: int = status(rig)["ring"]["position"]
    wait_until(lambda: status(rig)["ring"]["position"] > before + RATE // 2, "half a second of it")
    return status(rig)


def assert_time_is_true(before: dict[str, Any], after: dict[str, Any]) -> None:
    samples = after["ring"]["position"] - before["ring"]["position"]
    off = samples / RATE - (after["ring"]["time_ns"] - before["ring"]["time_ns"]) / 1e9
    assert abs(off) <= TOLERANCE_S, f"{off * 1e3:+.2f} ms"
    # And the newest sample is of just now, by this process's clock.
    age = time.monotonic() - after["ring"]["time_ns"] / 1e9
    assert 0 <= age < 1.0, f"{age:.2f} s old"


#: Every thing that is looked at, in this order.
#: Said only where there is one.
SOMETIMES = ("Bluetooth", "sandbox")
CHECKS = [
    "PipeWire",
    "session manager",
    "visibility",
    "source",
    "streams",
    "echo",
    "microphone",
    "quantum",
    "sound cards",
    "groups",
    "RT limits",
    "RTKit",
    "memory",
    "preemption",
    "wake-ups",
    "CPU sleep",
    "speech",
    "ONNX Runtime",
    "udev rules",
    "user unit",
]


def doctor(env: dict[str, str], status: int | None = None) -> dict[str, dict[str, Any]]:
    """Its checks by name; the text says the same as the JSON."""
    done = subprocess.run(
        [BINARY, "doctor", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    # Where a service has streams open, there is one for each of its sources.
    names = ("streams" if name.startswith("stream ") else name for name in checks)
    always = [name for name in dict.fromkeys(names) if name not in SOMETIMES]
    assert always == CHECKS
    broken = [check for check in report["checks"] if check["status"] == "broken"]
    assert done.returncode == (1 if broken else 0), done.stderr
    assert (report["status"] == "broken") == bool(broken)
    for check in report["checks"]:
        assert check["meaning"] and "\n" not in check["meaning"]
        assert (check["status"] == "good") == (check["remedy"] is None), check
    if status is not None:
        assert done.returncode == status, report
    return checks

"""A private PipeWire, and the engine as a service in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/rig")]

from rig import PrivatePipeWire  # noqa: E402

BINARY = Path(os.environ.get("V2M_ENGINE_BIN", ROOT / "target/release/v2m-engine"))


class Engine:
    """The service beside a private PipeWire, in that daemon's runtime directory."""

    def __init__(
        self, rig: PrivatePipeWire, *arguments: str, before: Sequence[str] = (), **env: str
    ) -> None:
        """``before``: programs that run the engine."""
        self.rig = rig
        # Most tests look at the node without being a client.
        policy = () if "--capture" in arguments else ("--capture", "always")
        self.process = subprocess.Popen(
            [*before, BINARY, "run", "--log", "debug", *policy, *arguments],
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


@pytest.fixture
def rig() -> Iterator[PrivatePipeWire]:
    with PrivatePipeWire(quantum=256) as private:
        yield private


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2M_ENGINE_BIN", str(BINARY))

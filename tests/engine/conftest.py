"""An engine as a user would start it, in a runtime directory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("V2M_ENGINE_BIN", ROOT / "target/release/v2m-engine"))
SPEECH = "/usr/share/sounds/alsa/Front_Center.wav"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """Polls until the condition holds; the limit only turns a hang into a failure."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.02)
    return result


class User:
    """One user's environment: a runtime and a configuration directory."""

    def __init__(self, base: Path) -> None:
        self.runtime = base / "run"
        self.config = base / "config"
        for directory in (self.runtime, self.config / "v2m-engine"):
            directory.mkdir(parents=True)
        self.runtime.chmod(0o700)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CONFIG_HOME": str(self.config),
        }
        self.engines: list[subprocess.Popen[str]] = []

    @property
    def socket(self) -> Path:
        return self.runtime / "v2m-engine/engine.sock"

    def command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end."""
        return subprocess.run(
            [BINARY, *arguments],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Starts the service and waits until it answers."""
        source = () if "--source" in arguments else ("--source", f"file:{SPEECH}")
        engine = subprocess.Popen(
            [BINARY, "run", *source, *arguments],
            env=self.env | env,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.engines.append(engine)
        wait_until(
            lambda: engine.poll() is not None or self.command("status", **env).returncode == 0,
            "the engine's first answer",
        )
        assert engine.poll() is None, engine.communicate()[1]
        return engine

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def stop_all(self) -> None:
        for engine in self.engines:
            if engine.poll() is None:
                engine.kill()
            engine.wait()
            if engine.stderr:
                engine.stderr.close()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    user.stop_all()

"""A whole private session: the rig's PipeWire with WirePlumber, which links streams, and
pipewire-pulse if it is installed; nothing is shared with the user's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from types import TracebackType

from rig import PrivatePipeWire, RigError

MICROPHONE = "rig-mic"

# ALSA programs meet PipeWire by its plugin, as where the package pipewire-alsa is
# installed and makes it the default.
ALSA = """\
</usr/share/alsa/alsa.conf>
pcm.!default { type pipewire playback_node "-1" capture_node "-1" }
ctl.!default { type pipewire }
"""


class Session:
    """A context manager; `env` leads programs into the session."""

    def __init__(self, quantum: int) -> None:
        """`quantum` is forced on the graph; 0: 1024 unless somebody asks for less."""
        self.rig = PrivatePipeWire(quantum=quantum)
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def env(self) -> dict[str, str]:
        directory = str(self.rig.directory)
        return self.rig.env | {
            "HOME": directory,
            "XDG_CONFIG_HOME": directory,
            "XDG_STATE_HOME": directory,
            "ALSA_CONFIG_PATH": f"{directory}/asound.conf",
        }

    def __enter__(self) -> Session:
        self.rig.start()
        try:
            (self.rig.directory / "asound.conf").write_text(ALSA)
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def _start_all(self) -> None:
        """What a user's services are, beside the daemon."""
        self.rig.destroy_metadata("default")
        self._start("dbus-run-session", "--", "wireplumber")
        has_pulse = shutil.which("pipewire-pulse") is not None
        if has_pulse:
            self._start("pipewire-pulse")
        self.rig.wait_for(self._is_default, "WirePlumber to name the microphone", 30)
        if has_pulse:
            pulse = self.rig.directory / "pulse/native"
            self.rig.wait_for(pulse.exists, "pipewire-pulse to listen", 30)

    def kill_daemon(self) -> None:
        """And what can't go on without it."""
        self.rig.kill()
        self._end_all()

    def start_daemon(self) -> None:
        """After it was killed: all of it, as systemd does."""
        self.rig.start()
        self._start_all()

    def _start(self, *command: str) -> None:
        with open(self.rig.directory / f"{command[-1]}.log", "wb") as log:
            # A group of its own: a bus would outlive its dbus-run-session, and with it one of the
            # inotify instances that a user may have.
            process = subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    def _log(self, name: str) -> str:
        """The newest of what that service said."""
        return (self.rig.directory / f"{name}.log").read_text(errors="replace")[-2000:]

    def _is_default(self) -> bool:
        self.check()
        text = self.rig.tool("pw-metadata", "-n", "default")
        return any(
            "'default.audio.source'" in line and MICROPHONE in line for line in text.splitlines()
        )

    def check(self) -> None:
        """Raises if WirePlumber or pipewire-pulse ended: streams get nothing then."""
        for process in self._processes:
            if process.poll() is not None:
                name = str(process.args[-1])  # type: ignore[index]
                raise RigError(f"{name} ended with status {process.returncode}:\n{self._log(name)}")

    def _end_all(self) -> None:
        while self._processes:
            process = self._processes.pop()
            end = time.monotonic() + 5
            # Not only its leader: what outlives it still writes into the directory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                while time.monotonic() < end:
                    process.poll()
                    os.killpg(process.pid, 0)
                    time.sleep(0.01)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """Ends everything, the newest first."""
        self._end_all()
        self.rig.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

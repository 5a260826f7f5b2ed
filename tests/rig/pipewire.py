"""A private, headless PipeWire for tests, benches and the demo; see README.md here.

``PrivatePipeWire`` starts a daemon in a runtime directory of its own, with two
virtual microphones (``rig-mic``, mono, and ``rig-mic-stereo``) and a clock. It
plays known audio into them by ``player.c``, and drives the graph by PipeWire's
own tools, each under a timeout. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rig.player import (
    CACHE,
    PATIENCE,
    PIPEWIRE,
    Player,
    RigError,
    build_player,
    die_with_parent,
    require_programs,
)

__all__ = ["Player", "PrivatePipeWire", "RigError"]

HERE = Path(__file__).resolve().parent
TOOL_TIMEOUT_S = 5.0


class PrivatePipeWire:
    """A PipeWire daemon of one's own; a context manager, or ``start`` and ``stop``."""

    def __init__(self, *, quantum: int = 0, rate: int = 0, cache: Path = CACHE) -> None:
        """``quantum`` and ``rate`` are forced on the graph; 0 leaves it to its nodes."""
        self._quantum, self._rate, self._cache = quantum, rate, cache
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._players: list[Player] = []

    # The daemon.

    @property
    def directory(self) -> Path:
        """The runtime directory; holds the socket ``pipewire-0`` and ``daemon.log``."""
        if self._home is None:
            raise RigError("the private PipeWire is not started")
        return Path(self._home.name)

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads a program to this daemon."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PIPEWIRE_", "PULSE_"))}
        env["XDG_RUNTIME_DIR"] = str(self.directory)
        env["PIPEWIRE_RUNTIME_DIR"] = str(self.directory)
        return env

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        require_programs(PIPEWIRE)
        if self._home is None:
            self._home = tempfile.TemporaryDirectory(prefix="rig-", ignore_cleanup_errors=True)
        if self._daemon is not None:
            raise RigError("the private PipeWire already runs")
        with open(self.directory / "daemon.log", "ab") as log:
            self._daemon = subprocess.Popen(
                ["pipewire", "-c", str(HERE / "pipewire.conf")],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        try:
            self.wait_for(self._answers, "the daemon to answer")
            self.wait_for_node("rig-mic-stereo")
            if self._quantum:
                self.set_quantum(self._quantum)
            if self._rate:
                self.set_rate(self._rate)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self._daemon is not None
        if self._daemon.poll() is not None:
            log = (self.directory / "daemon.log").read_text(errors="replace")
            raise RigError(f"pipewire ended with status {self._daemon.returncode}:\n{log}")
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.directory / "pipewire-0"))
            except OSError:
                return False
        return True

    def _end_daemon(self, how: signal.Signals) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        daemon.send_signal(how)
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def stop(self) -> None:
        """End players and daemon, remove the directory."""
        for player in self._players:
            player.kill()
        self._players.clear()
        self._end_daemon(signal.SIGTERM)
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    def kill(self) -> None:
        """``kill -9`` the daemon; ``start`` brings a new one in the same directory."""
        self._end_daemon(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._daemon is not None
        return self._daemon.pid

    def freeze(self) -> None:
        """Let the daemon hang: it is there, and nothing of it moves until ``thaw``."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """End the daemon politely and start a new one."""
        self._end_daemon(signal.SIGTERM)
        self.start()

    def __enter__(self) -> PrivatePipeWire:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # The graph.

    def tool(self, *command: str, timeout: float = TOOL_TIMEOUT_S) -> str:
        """Run one of PipeWire's tools here; its standard output."""
        try:
            done = subprocess.run(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout * PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RigError(f"{' '.join(command)} did not end within {timeout} s") from error
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip()
            raise RigError(f"{' '.join(command)}: status {done.returncode}: {reason}")
        return done.stdout

    def set_quantum(self, quantum: int) -> None:
        """Force the graph's quantum (32 to 8192 frames); 0 leaves it to the nodes."""
        self.tool("pw-metadata", "-n", "settings", "0", "clock.force-quantum", str(quantum))

    def set_rate(self, rate: int) -> None:
        """Force the graph's rate (44100 to 192000); 0 lets go, without going back."""
        self.tool("pw-metadata", "-n", "settings", "0", "clock.force-rate", str(rate))

    def set_default_source(self, name: str | None) -> None:
        """Make a source the default as a session manager would; None deletes the entry."""
        self._set_default("default.audio.source", name)

    def set_default_sink(self, name: str | None) -> None:
        """The same for a sink."""
        self._set_default("default.audio.sink", name)

    def _set_default(self, key: str, name: str | None) -> None:
        entry = ["pw-metadata", "-n", "default"]
        if name is None:
            self.tool(*entry, "-d", "0", key)
        else:
            self.tool(*entry, "0", key, json.dumps({"name": name}), "Spa:String:JSON")

    def create_source(
        self,
        name: str,
        *,
        channels: Sequence[str] = ("MONO",),
        description: str = "",
        own_clock: bool = False,
    ) -> int:
        """Plug in a virtual microphone; its node id. ``own_clock``: it drives itself."""
        return self._create(name, "Audio/Source/Virtual", channels, description, own_clock)

    def create_sink(
        self,
        name: str,
        *,
        channels: Sequence[str] = ("FL", "FR"),
        description: str = "",
        own_clock: bool = False,
    ) -> int:
        """Plug in a virtual loudspeaker, whose monitor can be captured; its node id."""
        return self._create(name, "Audio/Sink", channels, description, own_clock)

    def create_stream(
        self, name: str, *, program: str, channels: Sequence[str] = ("FL", "FR")
    ) -> int:
        """A stream that a program plays, as what can play into it decides; its node id."""
        more = {"application.name": program}
        return self._create(name, "Stream/Output/Audio", channels, "", False, more)

    def _create(
        self,
        name: str,
        media_class: str,
        channels: Sequence[str],
        description: str,
        own_clock: bool,
        more: dict[str, str] | None = None,
    ) -> int:
        properties: dict[str, object] = {
            "factory.name": "support.null-audio-sink",
            "node.name": name,
            "node.description": description or name,
            "media.class": media_class,
            "audio.position": ",".join(channels),
            "object.linger": True,
            "adapter.auto-port-config": {"mode": "dsp", "monitor": True, "position": "preserve"},
        }
        properties |= more or {}
        if own_clock:
            properties["priority.driver"] = 30000
        else:
            properties["node.group"] = "rig"
        self.tool("pw-cli", "create-node", "adapter", json.dumps(properties))
        return self.wait_for_node(name)

    def destroy_node(self, name: str) -> None:
        """Unplug: destroy the node of that name and wait until it is gone."""
        self.tool("pw-cli", "destroy", str(self.node_id(name)))
        self.wait_for(lambda: self._find_node(name) is None, f"node {name} to go")

    def destroy_metadata(self, name: str) -> None:
        """Remove a table of metadata, for a session manager that brings its own: of two tables
        of one name it may write the one that nobody reads."""

        def tables() -> list[int]:
            # pw-dump passes over a table without entries.
            said = self.tool("pw-cli", "ls", "Metadata").split("\tid ")[1:]
            return [int(s.split(",")[0]) for s in said if f'metadata.name = "{name}"' in s]

        for table in tables():
            self.tool("pw-cli", "destroy", str(table))
        self.wait_for(lambda: not tables(), f"metadata {name} to go")

    def dump(self) -> list[dict[str, Any]]:
        """All objects, as ``pw-dump`` gives them: what changes meanwhile in lists of its own."""
        said = self.tool("pw-dump")
        decoder = json.JSONDecoder()
        objects: dict[int, dict[str, Any]] = {}
        at = 0
        while said[at:].strip():
            at += len(said[at:]) - len(said[at:].lstrip())
            some, at = decoder.raw_decode(said, at)
            objects |= {item["id"]: item for item in some}
        return [item for item in objects.values() if item.get("info", item) is not None]

    def _find_node(self, name: str) -> dict[str, Any] | None:
        for item in self.dump():
            if item["type"].endswith(":Node") and item["info"]["props"].get("node.name") == name:
                return item
        return None

    def node(self, name: str) -> dict[str, Any]:
        """The node of that name, as ``pw-dump`` gives it."""
        node = self._find_node(name)
        if node is None:
            raise RigError(f"there is no node {name}")
        return node

    def node_id(self, name: str) -> int:
        """The global id of the node of that name."""
        return int(self.node(name)["id"])

    def links(self) -> set[tuple[str, str]]:
        """All links as ``("node:port", "node:port")``, output first."""
        names: dict[int, str] = {}
        ports: dict[int, tuple[int, str]] = {}
        ends: list[tuple[int, int]] = []
        for item in self.dump():
            info = item.get("info", {})
            props = info.get("props") or {}
            if item["type"].endswith(":Node"):
                names[item["id"]] = props.get("node.name", "")
            elif item["type"].endswith(":Port"):
                ports[item["id"]] = (int(props["node.id"]), props["port.name"])
            elif item["type"].endswith(":Link"):
                ends.append((info["output-port-id"], info["input-port-id"]))

        def full(port: int) -> str:
            node, name = ports[port]
            return f"{names[node]}:{name}"

        return {(full(a), full(b)) for a, b in ends if a in ports and b in ports}

    def link(self, output: str, input: str) -> None:
        """Link ``"node:port"`` to ``"node:port"``, by hand as it were."""
        self.tool("pw-link", output, input)

    def unlink(self, output: str, input: str) -> None:
        """Remove that link, whoever made it."""
        self.tool("pw-link", "-d", output, input)

    # Waiting.

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = 10.0) -> Any:
        """Poll until ``condition()`` is true and return it; ``RigError`` after ``timeout`` s."""
        end = time.monotonic() + timeout * PATIENCE
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise RigError(f"waited {timeout} s in vain for {what}")
            time.sleep(0.02)

    def wait_for_node(self, name: str, timeout: float = 10.0) -> int:
        """Wait until a node of that name has a port; its id."""

        def ready() -> int | None:
            node = self._find_node(name)
            if node is None:
                return None
            info = node["info"]
            return int(node["id"]) if info["n-input-ports"] + info["n-output-ports"] else None

        return int(self.wait_for(ready, f"node {name}", timeout))

    def wait_for_links(
        self, output: str, input: str, count: int = 1, timeout: float = 10.0
    ) -> None:
        """Wait until ``count`` links lead from node ``output`` to node ``input``."""

        def linked() -> bool:
            ends = [(a.split(":")[0], b.split(":")[0]) for a, b in self.links()]
            return ends.count((output, input)) == count

        self.wait_for(linked, f"{count} links from {output} to {input}", timeout)

    # Audio.

    def play(
        self,
        path: str | os.PathLike[str],
        target: str = "rig-mic",
        *,
        loop: bool = False,
        gain: float = 1.0,
        rate: int = 48000,
        port: str | None = None,
        name: str = "rig-player",
    ) -> Player:
        """Play raw mono f32 into a node (or one port of it); returns once it sounds.

        Sample ``x[p - p0]`` is at graph position ``p``; ``Player.started`` has ``p0``.
        ``rate`` is the file's; 0 plays one file sample per graph sample at any rate.
        """
        options = ["--gain", repr(gain), "--rate", str(rate), "--name", name]
        if loop:
            options.append("--loop")
        if port is not None:
            options += ["--port", port]
        return self._play([os.fspath(path), target, *options])

    def play_impulses(
        self,
        seed: int,
        target: str = "rig-mic",
        *,
        gain: float = 1.0,
        port: str | None = None,
        name: str = "rig-player",
    ) -> Player:
        """Play ten impulses a second at places that ``seed`` decides."""
        options = ["--gain", repr(gain), "--name", name]
        if port is not None:
            options += ["--port", port]
        return self._play(["--impulses", str(seed), target, *options])

    def _play(self, arguments: list[str]) -> Player:
        program = build_player(self._cache)
        player = Player(
            subprocess.Popen(
                [str(program), *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent,
            )
        )
        self._players.append(player)
        try:
            player.started()
        except RigError:
            player.kill()
            raise
        return player

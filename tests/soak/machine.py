"""The machine that things happen to: a sound server, its sources, an engine, and who listens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from rig import BINARY, Player, PrivatePipeWire, wait_until
from rig.independent_reader import Ring, connect
from rig.player import die_with_parent
from rig.speech import say
from rig.stepped_clock import SteppedClock
from soak.account import NS, Span, World
from soak.clients import KINDS, Client, environment
from soak.played import LENGTH, Played
from soak.recordings import Disk, Recorder

#: One that is always there, one that is plugged in, and one with a clock of its own.
BUILT_IN, PLUGGED, OWN_CLOCK = "rig-mic", "usb-mic", "desk-mic"
SOURCES = (BUILT_IN, PLUGGED, OWN_CLOCK)
#: Each plays now and then. No microphone hears them, so that what is heard is known: where they
#: are silent `clean` is the microphone as it is.
SINKS = ("speakers", "headset")
#: By a loudspeaker, at 16 kHz.
SAID, SPOKEN_RATE = "The weather tomorrow will be mostly sunny with some clouds.", 16_000
#: Until a link carries sound, on a machine that is busy.
SETTLES_NS = NS


class Machine:
    """A context manager; what can be done to it are its methods, and `soak.faults` does it."""

    def __init__(
        self, directory: Path, rng: random.Random, history: int, lengths: tuple[float, float]
    ) -> None:
        """`history`: the engine's, in seconds; `lengths`: of recordings."""
        self.directory, self.rng, self.history = directory, rng, history
        self.lengths = lengths
        self.world = World(late=self._late, may_starve=frozenset({OWN_CLOCK}))
        self.rig = PrivatePipeWire(quantum=256)
        self.players: dict[str, list[Player]] = {name: [] for name in SOURCES}
        self.clients: list[Client] = []
        self.default = BUILT_IN
        self.default_sink = SINKS[0]
        self.loudspeakers: dict[str, Player] = {}
        self._engine: subprocess.Popen[bytes] | None = None

    # Its beginning and end.

    def __enter__(self) -> Machine:
        for number, name in enumerate(SOURCES):
            self.world.played[name] = Played(name, number)
            self.world.played[name].write(self.directory)
            for rate in (48_000, 16_000):
                self.world.played[name].at(rate)
        talk = say(SAID)
        for number, name in enumerate(SINKS):
            rests = np.zeros((2 + number) * len(talk), np.float32)
            np.concatenate([rests, talk]).tofile(self.directory / f"{name}.f32")
        self.clock = SteppedClock(self.directory)
        self.disk = Disk(self.directory / "disk", 64)
        try:
            self.rig.start()
            self.plug_all()
            self.start_engine()
            env = environment(self.env)
            for kind in KINDS:
                log = self.directory / f"{kind}.log"
                self.clients.append(Client(kind, self.world, env, log))
            self.recorder = Recorder(
                self.world,
                self.env | self.clock.env,
                self.disk.folder,
                random.Random(self.rng.random()),
                self.lengths,
            )
            for client in self.clients[:2]:
                assert client.wait_for_audio(30), f"no audio for the {client.kind} reader"
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for client in self.clients:
            client.stop()
        if self._engine:
            self._engine.kill()
            self._engine.wait()
        self.rig.stop()
        self.disk.close()

    def wrong_so_far(self) -> list[str]:
        """What was found up to some seconds ago."""
        found = list(self.recorder.wrong)
        for client in self.clients:
            with client.lock:
                client.account.judge(time.monotonic_ns() - 15 * NS)
                found += client.account.wrong
        return found

    def finish(self) -> list[str]:
        """Stops everything in order; what is wrong, and was not told."""
        self.recorder.stop()
        for client in self.clients:
            client.stop()
        wrong = [text for client in self.clients for text in client.account.judged()]
        wrong += self.recorder.judged()
        log = (self.directory / "engine.log").read_text(errors="replace")
        wrong += [f"engine: {line}" for line in log.splitlines() if "panicked" in line]
        return wrong

    @property
    def env(self) -> dict[str, str]:
        return self.rig.env | {"HOME": str(self.rig.directory)}

    # The sound server and its sources.

    def plug_all(self) -> None:
        """What a daemon that has just begun lacks."""
        with self.may_be_silent():
            self.rig.create_source(PLUGGED)
            self.rig.create_source(OWN_CLOCK, own_clock=True)
            for name in SOURCES:
                self._play(name)
            self.rig.set_default_source(self.default)
        for name in SINKS:
            self.plug_sink(name)
            path = self.directory / f"{name}.f32"
            player = self.rig.play(path, name, rate=SPOKEN_RATE, loop=True, name=f"player-{name}")
            self.loudspeakers[name] = player
        self.set_default_sink(self.default_sink)

    def plug_sink(self, name: str) -> None:
        """If something plays into it, that links itself again."""
        with span(self.world.regrouped):
            self.rig.create_sink(name)

    def unplug_sink(self, name: str) -> None:
        with span(self.world.regrouped):
            self.rig.destroy_node(name)

    def set_default_sink(self, name: str) -> None:
        """`clean` links microphone and loudspeaker, and with them what is linked to either."""
        self.default_sink = name
        with span(self.world.regrouped):
            self.rig.set_default_sink(name)

    def _play(self, name: str) -> None:
        path = self.directory / f"{name}.f32"
        player = self.rig.play(path, name, rate=0, loop=True, name=f"player-{name}")
        self.players[name].append(player)

    def _late(self, source: str) -> Iterator[tuple[int, int, int]]:
        for player in self.players[source]:
            # On the way from one clock to another it plays nothing.
            yield from ((0, LENGTH, ns) for ns in player.started_ns)
            anchors = {p0 for p0, _, _ in player.started()}
            for first, end, ns in player.late_at:
                for p0 in anchors:
                    begin = (first - p0) % LENGTH
                    yield begin, begin + min(end - first, LENGTH), ns

    @contextmanager
    def may_be_silent(self) -> Iterator[None]:
        """Meanwhile, and a little longer, a source may be there that nothing is played into."""
        with span(self.world.silent):
            yield

    @contextmanager
    def clock_may_stand(self) -> Iterator[None]:
        """Meanwhile the sound server's clock may not count."""
        with span(self.world.clock_stood):
            yield

    def set_default(self, name: str) -> None:
        """Under whose clock `clean` puts the loudspeakers, too."""
        self.default = name
        with span(self.world.regrouped):
            self.rig.set_default_source(name)

    def unplug(self) -> None:
        """Its links go one after the other: a port without any gives silence for a cycle."""
        with self.may_be_silent():
            self.rig.destroy_node(PLUGGED)

    def plug(self) -> None:
        """Its player links itself again."""
        player = self.players[PLUGGED][-1]
        with self.may_be_silent():
            before = len(player.late_at) + len(player.started())
            self.rig.create_source(PLUGGED)
            with suppress(AssertionError):
                wait_until(
                    lambda: len(player.late_at) + len(player.started()) > before, "the player", 5
                )

    # The engine.

    def start_engine(self) -> None:
        with open(self.directory / "engine.log", "ab") as log, span(self.world.regrouped):
            self._engine = subprocess.Popen(
                [
                    *(BINARY, "run", "--log", "info", "--history", str(self.history)),
                    *("--alsa-fallback", "off"),
                ],
                env=self.env | self.clock.env,
                stdin=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def kill_engine(self) -> None:
        """Whoever read it has all that it had written."""
        rings: dict[int, Ring] = {}
        for rate in (48_000, 16_000):
            with suppress(OSError, ValueError, KeyError):
                peer, descriptor, _ = connect(self.socket, rate)
                rings[rate] = Ring(descriptor)
                os.close(descriptor)
                peer.close()
        assert self._engine
        self._engine.kill()
        self._engine.wait()
        self.world.engine_ends.append(time.monotonic_ns())
        for client in self.clients[:2]:
            ring = rings.get(client.account.rate)
            with client.lock:
                client.account.ends_at(ring.committed() if ring else None)

    def signal_engine(self, number: signal.Signals) -> None:
        assert self._engine
        self._engine.send_signal(number)

    @property
    def socket(self) -> str:
        return str(self.rig.directory / "v2m-engine/engine.sock")

    def command(self, *arguments: str) -> bool:
        """Whether the engine's own command succeeds."""
        command = [BINARY, *arguments]
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, env=self.env, capture_output=True, timeout=10, check=False
            )
            return done.returncode == 0
        return False

    # All of it.

    def signal_all(self, number: signal.Signals) -> None:
        """To everything, in any order."""
        playing = [started[-1] for started in self.players.values()]
        players = [player.pid for player in [*playing, *self.loudspeakers.values()]]
        targets = [
            *(lambda pid=pid: os.kill(pid, number) for pid in [*players, self.rig.pid]),
            lambda: self.signal_engine(number),
            lambda: self.recorder.signal(number),
            *(lambda client=client: client.signal(number) for client in self.clients),
        ]
        self.rng.shuffle(targets)
        for target in targets:
            with suppress(ProcessLookupError):
                target()


@contextmanager
def span(spans: list[Span]) -> Iterator[None]:
    """Adds one that goes on, and ends with it."""
    mine = Span(time.monotonic_ns() - SETTLES_NS)
    spans.append(mine)
    try:
        yield
    finally:
        mine.end_ns = time.monotonic_ns() + SETTLES_NS

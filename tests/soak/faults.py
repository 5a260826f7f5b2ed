"""What can happen, and how: each is a function of the machine and of chance."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from soak.machine import BUILT_IN, OWN_CLOCK, PLUGGED, SINKS, SOURCES, Machine

Inject = Callable[[Machine, random.Random, float], None]


@dataclass(frozen=True)
class Fault:
    """One kind of them."""

    name: str
    #: In the words of docs/reliability.md.
    what: str
    inject: Inject


def change_default(machine: Machine, rng: random.Random, _longest: float) -> None:
    machine.set_default(rng.choice([name for name in SOURCES if name != machine.default]))


def unplug(machine: Machine, rng: random.Random, longest: float) -> None:
    if rng.random() < 0.7:
        machine.set_default(PLUGGED)
        time.sleep(rng.uniform(0, 1.5))
    machine.unplug()
    time.sleep(rng.uniform(0, longest / 2))
    if rng.random() < 0.3:
        machine.set_default(rng.choice([BUILT_IN, OWN_CLOCK]))
    machine.plug()


def change_default_sink(machine: Machine, rng: random.Random, _longest: float) -> None:
    machine.set_default_sink(rng.choice([name for name in SINKS if name != machine.default_sink]))


def unplug_sink(machine: Machine, rng: random.Random, _longest: float) -> None:
    """The one that `clean` listens to, for a second or so."""
    name = machine.default_sink
    machine.unplug_sink(name)
    time.sleep(rng.uniform(0.5, 1.5))
    machine.plug_sink(name)


def kill_daemon(machine: Machine, rng: random.Random, longest: float) -> None:
    with machine.clock_may_stand():
        machine.rig.kill()
        time.sleep(rng.uniform(0, longest / 2))
        with machine.may_be_silent():
            machine.rig.start()
            machine.plug_all()


def freeze_daemon(machine: Machine, rng: random.Random, longest: float) -> None:
    with machine.clock_may_stand():
        machine.rig.freeze()
        time.sleep(rng.uniform(0.05, longest))
        machine.rig.thaw()
        time.sleep(1)


def freeze_everything(machine: Machine, rng: random.Random, longest: float) -> None:
    with machine.clock_may_stand():
        machine.signal_all(signal.SIGSTOP)
        time.sleep(rng.uniform(0.05, longest))
        machine.signal_all(signal.SIGCONT)
        time.sleep(1)


def change_quantum(machine: Machine, rng: random.Random, _longest: float) -> None:
    """A virtual source with a clock of its own gives a cycle later what it was given: silence more
    or audio less where the cycle becomes another."""
    with machine.clock_may_stand():
        machine.rig.set_quantum(rng.choice([128, 256, 512, 1024, 2048]))


def mute(machine: Machine, rng: random.Random, longest: float) -> None:
    machine.command("mute")
    time.sleep(rng.uniform(0.1, longest / 4))
    # An engine that stands still doesn't obey.
    while not machine.command("unmute"):
        time.sleep(0.2)


def kill_engine(machine: Machine, rng: random.Random, longest: float) -> None:
    machine.kill_engine()
    time.sleep(rng.uniform(0, min(longest / 4, 3)))
    machine.start_engine()


def freeze_engine(machine: Machine, rng: random.Random, longest: float) -> None:
    machine.signal_engine(signal.SIGSTOP)
    time.sleep(rng.uniform(0.05, longest))
    machine.signal_engine(signal.SIGCONT)


def kill_reader(machine: Machine, rng: random.Random, _longest: float) -> None:
    rng.choice(machine.clients).kill()


def freeze_reader(machine: Machine, rng: random.Random, longest: float) -> None:
    """Also for longer than the engine remembers."""
    client = rng.choice(machine.clients)
    client.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.5, 1.5 * max(longest, machine.history)))
    client.signal(signal.SIGCONT)


def kill_recorder(machine: Machine, _rng: random.Random, _longest: float) -> None:
    machine.recorder.kill()


def fill_disk(machine: Machine, rng: random.Random, longest: float) -> None:
    """Also for longer than the engine remembers."""
    if machine.disk.is_own:
        hog = machine.disk.fill()
        time.sleep(rng.uniform(0.5, 1.2 * max(longest, machine.history)))
        hog.unlink()


def step_clock(machine: Machine, rng: random.Random, _longest: float) -> None:
    machine.clock.step(rng.randint(-7200, 7200))


#: The first lane has what the sound server takes part in, one after the other; the others go on
#: beside it.
LANES = (
    (
        Fault("default", "the default source changes", change_default),
        Fault("unplug", "a source is unplugged, and plugged in again", unplug),
        Fault("sink", "the default sink changes", change_default_sink),
        Fault("sink-unplug", "the default sink is gone for a second", unplug_sink),
        Fault("daemon-kill", "PipeWire is killed, and started again", kill_daemon),
        Fault("daemon-freeze", "PipeWire stands still", freeze_daemon),
        Fault("freeze", "everything stands still, as in suspend", freeze_everything),
        Fault("quantum", "the graph's quantum changes", change_quantum),
        Fault("mute", "all readers are muted", mute),
    ),
    (
        Fault("engine-kill", "the engine is killed, and started again", kill_engine),
        Fault("engine-freeze", "the engine stands still", freeze_engine),
        Fault("clock", "the wall clock is set, by two hours at most", step_clock),
    ),
    (
        Fault("reader-kill", "a reader is killed", kill_reader),
        Fault("reader-freeze", "a reader stands still, also beyond the history", freeze_reader),
        Fault("recorder-kill", "the recorder is killed", kill_recorder),
        Fault("disk-full", "the disk is full, also beyond the history", fill_disk),
    ),
)
FAULTS = [fault for lane in LANES for fault in lane]


class Lane(threading.Thread):
    """Injects its faults, each as often as any other, at moments that the seed decides."""

    def __init__(
        self,
        machine: Machine,
        number: int,
        seed: int,
        seconds: float,
        longest: float,
        say: Callable[[str], None],
    ) -> None:
        """`seconds`: until no more begin; `longest`: one may go on, about so long."""
        super().__init__(name=f"lane {number}", daemon=True)
        self.machine, self.faults = machine, LANES[number]
        self.rng = random.Random(f"{seed} {number}")
        self.longest, self.say = longest, say
        self.until = time.monotonic() + seconds
        self.pause = min(12.0, max(2.5, seconds / (2.5 * len(self.faults))))
        self.injected: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.start()

    def _drawn(self) -> Iterator[Fault]:
        while True:
            yield from self.rng.sample(self.faults, len(self.faults))

    def run(self) -> None:
        try:
            for fault in self._drawn():
                time.sleep(self.rng.uniform(0.2, self.pause))
                if time.monotonic() > self.until:
                    return
                self.say(fault.name)
                fault.inject(self.machine, self.rng, self.longest)
                self.injected[fault.name] += 1
        except BaseException as error:
            self.error = error


def inject(
    machine: Machine, seed: int, seconds: float, longest: float, say: Callable[[str], None]
) -> Counter[str]:
    """All lanes for so long; how often each fault was injected."""
    lanes = [Lane(machine, number, seed, seconds, longest, say) for number in range(len(LANES))]
    for lane in lanes:
        lane.join()
    errors = [lane.error for lane in lanes if lane.error]
    if errors:
        raise errors[0]
    return sum((lane.injected for lane in lanes), Counter())

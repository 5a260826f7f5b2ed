"""What everybody loses, and says of it, under the faults of tests/soak that they can be asked of.

Usage: python benches/peers/faults.py [--json FILE] [--only NAME ...] [--seconds 10]

In a private session a known sequence is played into two microphones, and each receiver listens
for some seconds, in which one thing happens. What it was given is looked for in what was played.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from install import PLACE, ROOT, Installed, say
from receivers import Peer, all_peers, script

from rig import BINARY, RigError
from rig.session import MICROPHONE, Session
from soak.account import Account, World
from soak.played import GRAPH_RATE, Played

QUANTUM = 256
SECOND = "usb-mic"
HEAD = struct.Struct("<qqI")
#: Of each receiver the form that loses least.
COMPARED = (
    "v2m_engine",
    "sounddevice, callback",
    "PyAudio, callback",
    "pw-record | Python",
    "arecord | Python",
)


def happens_nothing(_session: Session) -> None:
    pass


def default_changes(session: Session) -> None:
    set_default(session, SECOND)


def is_unplugged(session: Session) -> None:
    session.rig.destroy_node(SECOND)
    time.sleep(2)
    session.rig.create_source(SECOND)


def daemon_is_killed(session: Session) -> None:
    session.kill_daemon()
    time.sleep(1)
    session.start_daemon()


def daemon_freezes(session: Session) -> None:
    session.rig.freeze()
    time.sleep(3)
    session.rig.thaw()


@dataclass(frozen=True)
class Fault:
    """What happens two seconds after audio began to come."""

    name: str
    what: str
    happens: Callable[[Session], None]
    first: str = MICROPHONE
    load: str = "none"


FAULTS = (
    Fault("none", "nothing", happens_nothing),
    Fault("default", "the default source changes", default_changes),
    Fault("unplug", "the source is unplugged for 2 s", is_unplugged, SECOND),
    Fault("daemon-kill", "PipeWire is killed, and started after 1 s", daemon_is_killed),
    Fault("daemon-freeze", "PipeWire stands still for 3 s", daemon_freezes),
    Fault("gil", "a Python thread hogs the interpreter", happens_nothing, load="gil"),
)


@dataclass
class Row:
    """One receiver under one fault; seconds."""

    name: str
    fault: str
    #: From its first block to the end.
    lasted: float = 0.0
    #: Samples of what was played, each once and in its place.
    kept: float = 0.0
    #: What it wrote to standard error, and how it ended.
    said: str = ""
    missing: str | None = None


def set_default(session: Session, name: str) -> None:
    """As a desktop's settings do."""
    value = json.dumps({"name": name})
    session.rig.tool(
        *("pw-metadata", "-n", "default", "0", "default.configured.audio.source"),
        *(value, "Spa:String:JSON"),
    )


def own() -> Peer:
    """The client of this tree."""
    place = Installed(program=ROOT / ".venv/bin/python")
    return Peer("v2m_engine", "best", lambda: place, [script("with_v2m.py")])


def run(peer: Peer, fault: Fault, world: World, directory: Path, seconds: float) -> Row:
    """One receiver in a session of its own."""
    row = Row(peer.name, fault.name)
    spec = peer.spec(QUANTUM)
    if spec["missing"]:
        row.missing = spec["missing"]
        return row
    with Session(QUANTUM) as session:
        rig = session.rig
        rig.create_source(SECOND)
        for name in world.played:
            rig.play(directory / f"{name}.f32", name, rate=0, loop=True, name=f"player-{name}")
        set_default(session, fault.first)
        time.sleep(0.5)
        env = session.env | spec["env"] | {"V2M_ENGINE_BIN": str(BINARY)}
        env |= {"V2M_BENCH_SOURCE": MICROPHONE, "V2M_BENCH_LOAD": fault.load}
        process = subprocess.Popen(
            spec["command"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin and process.stdout and process.stderr
        said: list[bytes] = []
        ear = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        ear.start()
        killer = threading.Timer(seconds + 60, process.kill)
        killer.start()
        ready = process.stdout.readline()
        began = time.monotonic()
        time.sleep(2)
        fault.happens(session)
        if not any(player_is_there(session, name) for name in world.played):
            for name in world.played:
                if name == SECOND:
                    rig.create_source(SECOND)
                path = directory / f"{name}.f32"
                rig.play(path, name, rate=0, loop=True, name=f"player-{name}")
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        process.stdin.close()
        row.lasted = time.monotonic() - began
        # One that waits for audio that never comes waits still.
        threading.Timer(8, process.kill).start()
        data = process.stdout.read()
        status = process.wait()
        killer.cancel()
        ear.join(2)
    row.said = told(said, status if ready else status or 1)
    samples = []
    while len(data) >= HEAD.size:
        _, _, count = HEAD.unpack_from(data)
        samples.append(np.frombuffer(data, np.float32, count, HEAD.size))
        data = data[HEAD.size + 4 * count :]
    account = Account(world, peer.name, GRAPH_RATE)
    if samples:
        whole = np.concatenate(samples)
        for at in range(0, len(whole), 4800):
            piece = whole[at : at + 4800]
            account.chunk(at, at * 1_000_000_000 // GRAPH_RATE, False, piece)
    row.kept = account.tally.kept / GRAPH_RATE
    return row


def player_is_there(session: Session, name: str) -> bool:
    try:
        session.rig.node(f"player-{name}")
    except RigError:
        return False
    return True


def told(lines: list[bytes], status: int) -> str:
    """In a few words."""
    noise = ("ALSA lib", "Cannot connect", "jack server", "JackShm", "attempt to connect")
    text = [line.decode(errors="replace").strip() for line in lines]
    text = [line for line in text if line and not any(word in line for word in noise)]
    words = [text[-1][:90]] if text else []
    if len(text) > 1:
        words[0] += f" ({len(text)} lines)"
    if status == -9:
        words.append("hung, and was killed")
    elif status:
        words.append(f"ended with status {status}")
    return "; ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=PLACE / "faults.json")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="receivers with this in the name")
    parser.add_argument("--faults", nargs="+", metavar="NAME", help="these faults only")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    peers = [own(), *(peer for peer in all_peers(QUANTUM) if peer.form == "best")]
    peers = [peer for peer in peers if peer.name in COMPARED]
    if options.only:
        wanted = [name.lower() for name in options.only]
        peers = [peer for peer in peers if any(name in peer.name.lower() for name in wanted)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        world = World({name: Played(name, seed) for seed, name in enumerate((MICROPHONE, SECOND))})
        for played in world.played.values():
            played.write(Path(directory))
        for peer in peers:
            for fault in FAULTS:
                if options.faults and fault.name not in options.faults:
                    continue
                try:
                    row = run(peer, fault, world, Path(directory), options.seconds)
                except RigError as error:
                    row = Row(peer.name, fault.name, missing=str(error))
                say(f"{row}")
                rows.append(row)
                keep(rows, options)
    print(f"Written: {os.path.relpath(options.json)}", file=sys.stderr)


def keep(rows: list[Row], options: argparse.Namespace) -> None:
    """What there is so far."""
    names = {fault.name: fault.what for fault in FAULTS}
    report = {"seconds": options.seconds, "faults": names, "rows": [asdict(row) for row in rows]}
    options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

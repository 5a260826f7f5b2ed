"""A private, headless PipeWire from the command line; see README.md here."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from typing import TextIO

from rig.pipewire import PrivatePipeWire
from rig.player import Player, RigError


def serve(rig: PrivatePipeWire, requests: TextIO, answers: TextIO) -> None:
    """Let another language drive the rig, one JSON object a line.

    A request ``{"call": "set_quantum", "args": [256], "kwargs": {}}`` is a method
    or property of ``PrivatePipeWire``; with ``"player": n`` one of that player.
    The answer is ``{"ok": value}`` (a player is its number) or ``{"error": text}``.
    """
    players: list[Player] = []
    for line in requests:
        try:
            request = json.loads(line)
            on: object = players[request["player"]] if "player" in request else rig
            value = getattr(on, request["call"])
            if callable(value):
                value = value(*request.get("args", ()), **request.get("kwargs", {}))
            if isinstance(value, Player):
                players.append(value)
                value = len(players) - 1
            elif isinstance(value, set):
                value = sorted(value)
            answer = {"ok": value}
            text = json.dumps(answer, default=str)
        except Exception as error:  # whatever it is, the other side must hear it
            text = json.dumps({"error": f"{type(error).__name__}: {error}"})
        answers.write(text + "\n")
        answers.flush()


def main() -> int:
    """``rig run [--quantum N] [--rate R] [--play FILE] -- CMD...`` or ``rig serve``."""
    parser = argparse.ArgumentParser(prog="rig", description="A private, headless PipeWire.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a command with its environment")
    run.add_argument("--play", metavar="FILE", help="loop this raw f32 mono file into a source")
    run.add_argument("--play-rate", type=int, default=48000, help="the file's rate")
    run.add_argument("--target", default="rig-mic", help="the source it goes into")
    run.add_argument("cmd", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    served = commands.add_parser("serve", help="take calls as JSON lines on standard input")
    for each in (run, served):
        each.add_argument("--quantum", type=int, default=0, help="force this quantum")
        each.add_argument("--rate", type=int, default=0, help="force this rate")
    arguments = parser.parse_args()
    if arguments.command == "run":
        command = arguments.cmd[1:] if arguments.cmd[:1] == ["--"] else arguments.cmd
        if not command:
            parser.error("run needs a command after --")

    # End by the usual path, so that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with PrivatePipeWire(quantum=arguments.quantum, rate=arguments.rate) as rig:
            if arguments.command == "serve":
                serve(rig, sys.stdin, sys.stdout)
                return 0
            if arguments.play:
                rig.play(arguments.play, arguments.target, loop=True, rate=arguments.play_rate)
            child = subprocess.Popen(command, env=rig.env)
            try:
                return child.wait()
            except KeyboardInterrupt:  # the terminal told the child too
                return child.wait()
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
    except (RigError, OSError) as error:
        print(f"rig: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

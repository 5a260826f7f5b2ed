"""What a desktop makes of the engine: a whole session with WirePlumber and pipewire-pulse, and
the engine in it, looked at by pipewire-pulse's list of recording streams.

Run as a program it prints what it saw as one JSON object; standard library only, so that it
runs in a bare root of another release, too: ``python3 -m rig.desktop ENGINE``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rig import RigError
from rig.headset import SOURCE, Headset
from rig.session import Session


def look(engine: str) -> dict[str, Any]:
    """Lets the desktop see, mute, turn down and move the engine's stream; what came of it."""
    with Session(quantum=0) as session:
        rig = session.rig
        rig.create_sink("speakers")
        process = subprocess.Popen(
            [engine, "run", "--capture", "always", "--source", "rig-mic"],
            env=session.env,
            stderr=subprocess.DEVNULL,
        )
        try:
            return Desktop(session, engine).seen()
        finally:
            process.terminate()
            process.wait(10)


def look_at_headset(engine: str) -> list[str]:
    """The profiles that the session manager gives a Bluetooth headset before, while and after
    a program listens to it."""
    with Session(quantum=0) as session:
        headset = Headset(session.rig)
        running = [headset.stop]

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [engine, *arguments],
                env=session.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            running.extend((process.wait, process.kill))
            return process

        try:
            start("run", "--source", SOURCE, "--linger", "1")
            session.rig.wait_for(
                lambda: (
                    subprocess.run(
                        [engine, "status"], env=session.env, capture_output=True, timeout=20
                    ).returncode
                    == 0
                ),
                "the engine",
                15,
            )
            # WirePlumber 0.5.8 overlooks a stream that it learns of together with its link, as it
            # does when it has been busy; the next link it sees.
            for _ in range(5):
                reader = start("listen")
                with contextlib.suppress(RigError):
                    session.rig.wait_for(lambda: len(headset.profiles) > 1, "its microphone", 5)
                reader.kill()
                session.rig.wait_for(lambda: not session.rig.links(), "the end of capture", 20)
                if len(headset.profiles) > 1:
                    break
            session.rig.wait_for(lambda: len(headset.profiles) > 2, "its way back", 20)
            return headset.profiles
        finally:
            while running:
                running.pop()()


class Desktop:
    def __init__(self, session: Session, engine: str) -> None:
        self.session, self.engine = session, engine

    def seen(self) -> dict[str, Any]:
        self.wait_linked("rig-mic")
        seen: dict[str, Any] = {
            "version": self.status()["source"]["server_version"],
            "others": self.others_are_linked(),
            "links": self.links(),
        }
        stream = self.stream()
        seen["stream"] = stream
        seen["doctor"] = self.visibility()
        if stream is None:
            return seen
        seen["title"] = self.title_with_a_reader()
        for what, off in (("mute", "1"), ("volume", "0")):
            self.control(f"set-source-output-{what}", off, partial(self.hears, False))
            finding = self.status()["health"][0]
            seen[f"{what} found"] = finding["text"]
            # What the engine says ends it, does.
            self.run(*finding["remedy"].split("  #")[0].split())
            self.wait(partial(self.hears, True), finding["remedy"])
        # Moved by hand it stays where it was put, and comes back when that is taken back.
        for to, name in (
            ("rig-mic-stereo", "rig-mic-stereo"),
            ("rig-mic", "rig-mic"),
            ("speakers.monitor", "monitor:speakers"),
        ):
            self.control("move-source-output", to, partial(self.captures, name))
        time.sleep(1)
        seen["moved"] = self.links()
        seen["others_then"] = self.others_are_linked()
        return seen

    def title_with_a_reader(self) -> str:
        """What the desktop calls the stream while a program reads."""
        reader = subprocess.Popen(
            [self.engine, "listen"],
            env=self.session.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def title() -> str:
            stream = self.stream()
            text = stream["properties"]["media.name"] if stream else ""
            return text if "listen" in text else ""

        try:
            named: str = self.wait(title, "the reader's name")
            return named
        finally:
            reader.kill()
            reader.wait()

    def status(self) -> dict[str, Any]:
        done = self.run(self.engine, "status", "--json")
        result: dict[str, Any] = json.loads(done) if done else {}
        return result

    def kinds(self) -> list[str]:
        return [finding["kind"] for finding in self.status().get("health", [])]

    def hears(self, heard: bool) -> bool:
        return ("muted" not in self.kinds()) == heard

    def captures(self, name: str) -> bool:
        return self.linked() == name

    def linked(self) -> str | None:
        name: str | None = self.status().get("source", {}).get("linked")
        return name

    def wait_linked(self, name: str) -> None:
        self.wait(lambda: self.linked() == name, f"{name} to be captured")

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return self.session.rig.wait_for(condition, what, 20)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.session.env, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout if done.returncode == 0 else ""

    def pactl(self, *arguments: str) -> str:
        return self.session.rig.tool("pactl", *arguments)

    def control(self, what: str, value: str, done: Callable[[], bool]) -> None:
        """As a volume control does. The stream's number is another when it has more channels;
        what pipewire-pulse is told in its last moments it may forget."""
        for _ in range(10):
            stream = self.stream()
            assert stream is not None
            self.pactl(what, str(stream["index"]), value)
            for _ in range(20):
                if done():
                    return
                time.sleep(0.05)
        raise RigError(f"{what} {value}: nothing came of it")

    def stream(self) -> dict[str, Any] | None:
        """The engine's among the recording streams, when pipewire-pulse had time to see it."""
        for _ in range(20):
            listed = json.loads(self.pactl("--format=json", "list", "source-outputs"))
            for stream in listed:
                if stream["properties"].get("application.name") == "v2m-engine":
                    found: dict[str, Any] = stream
                    return found
            time.sleep(0.1)
        return None

    def links(self) -> list[list[str]]:
        """Those into the engine's node."""
        links = self.session.rig.links()
        return sorted([a, b] for a, b in links if b.startswith("v2m-engine:"))

    def others_are_linked(self) -> bool:
        """Whether the session manager links another program's stream."""
        rig = self.session.rig
        with open(os.devnull, "wb") as nothing:
            other = subprocess.Popen(
                ["pw-record", "-P", "{ node.name = other }", "-"],
                env=self.session.env,
                stdout=nothing,
                stderr=nothing,
            )
        try:
            rig.wait_for(
                lambda: any("other:" in b or "pw-record:" in b for _, b in rig.links()),
                "another program's link",
                10,
            )
            return True
        except RigError:
            return False
        finally:
            other.terminate()
            other.wait(5)

    def visibility(self) -> dict[str, Any] | None:
        """What the doctor says of it."""
        done = subprocess.run(
            [self.engine, "doctor", "--json"],
            env=self.session.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        checks = json.loads(done.stdout)["checks"] if done.stdout else []
        return next((check for check in checks if check["name"] == "visibility"), None)


if __name__ == "__main__":
    seen = look(sys.argv[1])
    print(json.dumps(seen | {"profiles": look_at_headset(sys.argv[1])}))

"""`v2m-engine monitor` as a user sees it: in a real terminal (tmux), while speech plays."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, PrivatePipeWire
from rig.demo import write_speech
from rig.peer import Peer
from rig.service import Engine
from v2m_engine import AudioCapture

BRAILLE = re.compile("[\u2801-\u28ff]")


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        time.sleep(0.05)
    return result


class Terminal:
    """A shell in a tmux server of its own."""

    def __init__(self, directory: Path, env: dict[str, str], width: int, height: int) -> None:
        self.tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null", "-u"]
        variables = [f"{name}={value}" for name, value in env.items()]
        shell = ["env", "-i", *variables, "PS1=prompt> ", "sh"]
        size = ["-x", str(width), "-y", str(height)]
        self.run("new-session", "-d", *size, shlex.join(shell), env=env)
        self.shell = int(self.format("#{pane_pid}"))
        wait_for(lambda: "prompt>" in self.screen(), "the shell")

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self.tmux, *command], env=env, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def format(self, what: str) -> str:
        return self.run("display-message", "-p", what).strip()

    def screen(self, *, escapes: bool = False) -> str:
        return self.run("capture-pane", "-p", *(["-e"] if escapes else []))

    def shows(self, *texts: str) -> str:
        """Waits until the screen holds all of these; the screen."""

        def look() -> str | None:
            screen = self.screen()
            return screen if all(text in screen for text in texts) else None

        try:
            return str(wait_for(look, f"{texts} on the screen"))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()}") from None

    def resize(self, width: int, height: int) -> None:
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def type(self, line: str) -> None:
        self.run("send-keys", "-l", line)
        self.press("Enter")

    def child(self) -> int:
        """The process that the shell runs."""
        path = Path(f"/proc/{self.shell}/task/{self.shell}/children")
        return int(wait_for(lambda: path.read_text().split(), "the shell's child")[0])

    def is_restored(self, before: str) -> None:
        """The screen from before, a cursor, and a line that echoes."""
        screen = self.shows("ended=")
        assert "waveform" not in screen and before in screen, screen
        assert self.format("#{alternate_on} #{cursor_flag} #{mouse_any_flag}") == "0 1 0"
        self.type("stty -a")
        modes = re.split(r"[;\s]+", self.shows("icanon"))
        assert {"icanon", "echo", "isig", "opost"} <= set(modes)

    def stop(self) -> None:
        with contextlib.suppress(AssertionError):
            self.run("kill-server")


@pytest.fixture
def speaking(rig: PrivatePipeWire, tmp_path: Path) -> Iterator[Engine]:
    """The service, with recorded speech in its microphone."""
    speech = tmp_path / "speech.f32"
    write_speech(speech)
    with Engine(rig) as engine:
        rig.wait_for_links("rig-mic", "v2m-engine")
        rig.play(speech, "rig-mic", loop=True)
        yield engine


@pytest.fixture
def terminals(rig: PrivatePipeWire, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(width: int = 80, height: int = 24, **env: str) -> Terminal:
        base = {
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(rig.directory),
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "TERM": "screen-256color",
        }
        directory = tmp_path / f"terminal-{len(opened)}"
        directory.mkdir()
        opened.append(Terminal(directory, base | env, width, height))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.stop()


MONITOR = f"{BINARY} monitor; echo ended=$?"


def seconds_shown(screen: str) -> float:
    found = re.search(r"waveform \S+ ([\d.]+) s", screen)
    assert found, screen
    return float(found[1])


def test_a_screen_of_speech(
    speaking: Engine,
    terminals: Callable[..., Terminal],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("V2M_ENGINE_SOCKET", speaking.socket)
    stop = threading.Event()

    def read() -> None:
        with AudioCapture(engine="service").stream() as stream:
            for _chunk in stream:
                if stop.is_set():
                    break

    client = threading.Thread(target=read)
    client.start()
    try:
        terminal = terminals()
        terminal.type(MONITOR)
        terminal.shows("running", "rig-mic", "256/48000 (5.3 ms)", "clients 2")
        terminal.shows("v2m-engine monitor", f"{os.getpid()} ", "dBFS", "q quit", "median")
        # Speech is there, is noticed, and goes by.
        terminal.shows("speaks")
        wait_for(lambda: "48;5;22m" in terminal.screen(escapes=True), "shading")
        wait_for(lambda: len(BRAILLE.findall(terminal.screen())) > 100, "a waveform")
        first = terminal.screen()
        wait_for(lambda: terminal.screen().splitlines()[2:9] != first.splitlines()[2:9], "motion")
        lines = terminal.screen().splitlines()
        assert len(lines) == 24 and lines[23].startswith(" q quit")
        # Both keep up: no more behind than what they take at once, and a stall of the machine.
        own = re.compile(rf"(?<!\S){os.getpid()} .*\d+ \(\d+ ms\)$")
        assert any(map(own.search, lines)), lines

        terminal.resize(132, 40)
        wider = terminal.shows("reset")
        wait_for(lambda: terminal.screen().splitlines()[39].startswith(" q quit"), "40 rows")
        wider = terminal.screen()
        assert seconds_shown(wider) > seconds_shown(first)
        assert max(len(line) for line in wider.splitlines()) > 120

        terminal.resize(60, 10)
        terminal.shows("This terminal is 60 x 10.", "80 x 24")
        terminal.resize(80, 24)
        terminal.shows("waveform", "q quit")
    finally:
        stop.set()
        client.join()


def test_keys_and_leaving(speaking: Engine, terminals: Callable[..., Terminal]) -> None:
    terminal = terminals()
    terminal.type("echo before")
    terminal.type(MONITOR)
    usual = seconds_shown(terminal.shows("running", "wake-ups since writing"))
    terminal.press("Space")
    terminal.shows("PAUSED", "paused", "go on")
    picture = terminal.screen().splitlines()[2:9]
    time.sleep(0.5)
    assert terminal.screen().splitlines()[2:9] == picture
    terminal.press("Space")
    wait_for(lambda: "PAUSED" not in terminal.screen(), "motion again")
    terminal.press("+")
    wait_for(lambda: seconds_shown(terminal.screen()) < usual, "a nearer view")
    terminal.press("-", "-")
    wait_for(lambda: seconds_shown(terminal.screen()) > usual, "a farther view")
    terminal.press("Left")
    terminal.shows("PAUSED", "s back")
    terminal.press("h")
    terminal.shows("wake-ups since capture")
    terminal.press("q")
    terminal.is_restored("before")
    assert "ended=0" in terminal.screen()


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "C-c"])
def test_however_it_ends_the_terminal_is_as_before(
    speaking: Engine, terminals: Callable[..., Terminal], end: str
) -> None:
    terminal = terminals()
    terminal.type("echo before")
    terminal.type(MONITOR)
    terminal.shows("running", "waveform")
    if end.startswith("SIG"):
        os.kill(terminal.child(), signal.Signals[end])
    else:
        terminal.press(end)
    terminal.is_restored("before")


def test_stopped_and_continued_by_the_shell(
    speaking: Engine, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals()
    terminal.type(f"{BINARY} monitor")
    terminal.shows("running", "waveform")
    terminal.press("C-z")
    wait_for(lambda: terminal.format("#{alternate_on}") == "0", "the shell")
    terminal.type("echo in the shell")
    assert "waveform" not in terminal.shows("\nin the shell")
    terminal.type("fg")
    terminal.shows("running", "waveform", "rig-mic")
    terminal.press("q")
    wait_for(lambda: terminal.format("#{alternate_on}") == "0", "the shell")


def test_a_terminal_that_goes_away_ends_it(
    speaking: Engine, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals()
    terminal.type(MONITOR)
    terminal.shows("running", "waveform")
    monitor = Path(f"/proc/{terminal.child()}")
    terminal.stop()
    wait_for(lambda: not monitor.exists(), "the monitor's end")


def test_colours_and_none(speaking: Engine, terminals: Callable[..., Terminal]) -> None:
    color = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
    terminal = terminals()
    terminal.type(MONITOR)
    terminal.shows("running", "rig-mic")
    assert color.search(terminal.screen(escapes=True))
    plain = terminals(NO_COLOR="1")
    plain.type(MONITOR)
    plain.shows("running", "rig-mic")
    wait_for(lambda: BRAILLE.search(plain.screen()), "a waveform")
    assert not color.search(plain.screen(escapes=True))
    simple = terminals(LANG="C")
    simple.type(MONITOR)
    shown = simple.shows("running", "rig-mic", "- waveform -")
    assert shown.isascii()


def test_the_engine_dies_and_comes_back(
    speaking: Engine, rig: PrivatePipeWire, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals()
    terminal.type(MONITOR)
    terminal.shows("running", f"pid {speaking.process.pid}")
    speaking.process.kill()
    speaking.process.wait()
    terminal.shows("gone", "No engine for")
    with Engine(rig) as again:
        terminal.shows("running", f"pid {again.process.pid}", "rig-mic")
        wait_for(lambda: "No engine" not in terminal.screen(), "the new engine")
        wait_for(lambda: "median" in terminal.screen(), "its wake-ups")
        # An engine that stands still doesn't hold up the keys.
        again.process.send_signal(signal.SIGSTOP)
        try:
            terminal.shows("gone", "did not answer")
            terminal.press("q")
            terminal.shows("ended=0")
        finally:
            again.process.send_signal(signal.SIGCONT)


def test_a_lane_for_each_stream(
    speaking: Engine, rig: PrivatePipeWire, terminals: Callable[..., Terminal], tmp_path: Path
) -> None:
    rig.create_source("other-mic")
    terminal = terminals()
    terminal.type(MONITOR)
    # One alone has none.
    assert "streams" not in terminal.shows("running", "rig-mic", "back, forward")
    other = [Peer(speaking.socket, source="other-mic", rate=rate) for rate in (48_000, 24_000)]
    assert all(peer.ring for peer in other), [peer.reply for peer in other]
    shown = terminal.shows("streams 3", "1 of 3", "16 kHz", "48 kHz", "24 kHz")
    lanes = [line for line in shown.splitlines() if " kHz " in line]
    assert [line.split()[0] for line in lanes] == ["▸", "other-mic", "other-mic"], shown
    # Speech comes by in the one and not in the other, which is silent; the keys choose which
    # of them has the rest of the screen.
    terminal.shows("speaks")
    terminal.press("Down")
    shown = terminal.shows("2 of 3", "source  other-mic", "peak  -inf", "▸ other-mic")
    assert "speaks" not in shown
    terminal.shows("clients 3", "median")
    terminal.press("Up")
    terminal.shows("1 of 3", "source  default", "speaks")
    terminal.press("Up")
    terminal.shows("3 of 3")
    once = run(rig, "monitor", "--once").stdout
    for rate in (48, 24):
        assert re.search(rf"^stream +other-mic at {rate} kHz: -inf dBFS", once, re.MULTILINE), once
    # What nobody but a monitor looks at ends.
    for peer in other:
        peer.close()
    terminal.shows("back, forward", "rig-mic")
    rig.wait_for(
        lambda: "other-mic" not in run(rig, "status", "--json").stdout, "the end of the source"
    )
    terminal.press("q")
    terminal.shows("ended=0")


def test_losses_show_where_they_are(
    speaking: Engine, rig: PrivatePipeWire, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals()
    terminal.type(MONITOR)
    terminal.shows("running", "rig-mic")
    rig.kill()
    terminal.shows("no audio", "No audio: ", "interruption,")
    wait_for(lambda: "▒" in terminal.screen(), "the gap in the waveform")
    rig.start()
    rig.wait_for_links("rig-mic", "v2m-engine")
    shown = terminal.shows("running", "rig-mic")
    wait_for(lambda: "No audio" not in terminal.screen(), "the notice to go")
    shown = terminal.screen()
    scale_of_time = shown.splitlines()[10]
    assert "▼" in scale_of_time, shown


def run(rig: PrivatePipeWire, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BINARY, *arguments], env=rig.env, capture_output=True, text=True, timeout=30, check=False
    )


def test_once_is_a_text_for_scripts(speaking: Engine, rig: PrivatePipeWire) -> None:
    done = run(rig, "monitor", "--once")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if line[0] != " "]
    values = {line[0]: line[1] for line in lines}
    assert "running" in values["engine"] and "rig-mic" in values["source"]
    assert re.fullmatch(r"-(inf|[\d.]+) dBFS, peak -[\d.]+ dBFS", values["level"])
    for name in ("written", "captured"):
        assert re.match(r"to wake-up: median [\d.]+ [um]s, ", values[name]), values[name]
    assert "v2m-engine monitor, " in done.stdout and "looks on" in done.stdout


def test_looking_on_wants_audio_but_no_quantum_of_its_own(
    rig: PrivatePipeWire, terminals: Callable[..., Terminal]
) -> None:
    rig.set_quantum(0)
    with Engine(rig, "--capture", "while-used", "--linger", "0"):
        assert ", idle, " in run(rig, "status").stdout
        terminal = terminals()
        terminal.type(MONITOR)
        terminal.shows("running", "rig-mic", "1024/48000 (21.3 ms)", "v2m-engine monitor")
        time.sleep(1)
        status = run(rig, "status").stdout
        assert "quantum 1024 " in status and "looks on" in status, status
        terminal.press("q")
        terminal.shows("ended=0")
        wait_for(lambda: ", idle, " in run(rig, "status").stdout, "the microphone to be left alone")


def test_without_a_terminal_or_an_engine(rig: PrivatePipeWire) -> None:
    piped = run(rig, "monitor")
    assert piped.returncode == 2 and "--once" in piped.stderr
    for done in (run(rig, "monitor", "--once"), run(rig, "status")):
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "v2m-engine run" in done.stderr

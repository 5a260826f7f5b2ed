"""A recorder on a disk of its own, one file after the other, and the account of each."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from rig import BINARY
from rig.player import die_with_parent
from rig.recorder import Wav, fill_disk, read_wav
from soak.account import NS, Account, Tally, World

RATE = 48_000
#: So many cues have room in a head; a file that was not ended has no others.
ROOM = 40
#: A cue says milliseconds.
ROUNDED = RATE // 1000


class Recorder(threading.Thread):
    """Records without an end; each file is looked at when it is over, and removed."""

    def __init__(
        self,
        world: World,
        env: dict[str, str],
        folder: Path,
        rng: random.Random,
        lengths: tuple[float, float],
    ) -> None:
        """`lengths`: of a file, in seconds, at least and at most."""
        super().__init__(name="recorder", daemon=True)
        self.world, self.env, self.folder = world, env, folder
        self.rng, self.lengths = rng, lengths
        self.over = threading.Event()
        self.process: subprocess.Popen[str] | None = None
        self.tally = Tally()
        self.wrong: list[str] = []
        self.files = 0
        self.killed = 0
        self._accounts: list[Account] = []
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            path = self.folder / f"{self.files}.wav"
            self._record(path)
            self.files += 1
            with suppress(FileNotFoundError):
                path.unlink()

    def _record(self, path: Path) -> None:
        began_ns = time.monotonic_ns()
        command = [BINARY, "record", path, "--rate", str(RATE), "--format", "wav32"]
        process = subprocess.Popen(
            [*command, "--sync", "0.5", "--overwrite"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        self.process = process
        said: list[str] = []
        assert process.stderr
        ear = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        ear.start()
        deadline = time.monotonic() + self.rng.uniform(*self.lengths)
        while process.poll() is None and time.monotonic() < deadline and not self.over.is_set():
            time.sleep(0.05)
            if not path.exists():
                # It waits for an engine.
                began_ns = time.monotonic_ns()
        ended = process.poll() is None
        if ended:
            process.send_signal(signal.SIGINT)
        try:
            status = process.wait(180)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
            self.wrong.append(f"recorder: does not end\n{''.join(said)}")
        ear.join(5)
        text = "".join(said)
        if "panicked" in text:
            self.wrong.append(f"recorder: {text}")
        if status == -signal.SIGKILL:
            self.killed += 1
        elif status == -signal.SIGINT and not path.exists():
            # Asked to end before it was there to hear it.
            pass
        elif status != 0:
            if not text.strip():
                self.wrong.append(f"recorder: status {status}, and not a word")
            # No engine, no room: somebody tries again soon.
            time.sleep(0.5)
        if path.exists():
            self._look_at(path, began_ns, status)
        elif status == 0:
            self.wrong.append(f"recorder: {path.name} is not there")

    def _look_at(self, path: Path, began_ns: int, status: int) -> None:
        if path.stat().st_size == 0:
            return
        wav = read_wav(path)
        if told := re.search(r"CLOCK_MONOTONIC (\d+) ns", wav.comment):
            # Of its first sample; the program was started before.
            began_ns = int(told[1])
        account = Account(self.world, f"file {self.files}", RATE)
        marked = np.zeros(len(wav.samples), bool)
        for at, length in wav.silences():
            told = reach(wav, at)
            if length > 1 and status != 0 and len(wav.cues) >= ROOM:
                # Where not all cues have room those of gaps go.
                told = at + length
            marked[at : min(told, at + length)] = True
        edges = [0, *(np.flatnonzero(np.diff(marked)) + 1).tolist(), len(marked)]
        for first, end in pairwise(edges):
            # Not in one piece: a break in it has a time of its own.
            for at in range(first, end, RATE // 10):
                piece = wav.samples[at : min(at + RATE // 10, end)]
                time_ns = began_ns + at * NS // RATE
                account.chunk(at, time_ns, bool(marked[first]), piece)
        self._accounts.append(account)
        for earlier in self._accounts[:-1]:
            earlier.judge(time.monotonic_ns() - 15 * NS)
            self.wrong += earlier.wrong
            earlier.wrong = []

    def judged(self) -> list[str]:
        """What is wrong with the files. At the end."""
        for account in self._accounts:
            self.wrong += account.judged()
            self.tally.add(account.tally)
        self._accounts.clear()
        return self.wrong

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.process:
                self.process.send_signal(number)

    def stop(self) -> None:
        self.over.set()
        self.join(240)


def reach(wav: Wav, at: int) -> int:
    """Up to where cues say that samples are missing, from that one on."""
    end = at
    for cue, label in wav.cues:
        seconds = re.fullmatch(r"(?:gap|lost|unused|muted) ([0-9.]+) s", label)
        if seconds and cue <= end + ROUNDED:
            end = max(end, cue + round(float(seconds[1]) * RATE) + ROUNDED)
    return end


class Disk:
    """A file system in memory, small enough to be filled."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self.is_own = os.geteuid() == 0
        folder.mkdir()
        if self.is_own:
            size = f"size={megabytes}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)

    def fill(self) -> Path:
        """Takes all the room; who removes the file gives it back."""
        return fill_disk(self.folder)

    def close(self) -> None:
        if self.is_own:
            subprocess.run(["umount", "-l", self.folder], check=True)

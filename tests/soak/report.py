"""What a run found, for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from soak.account import Tally
from soak.faults import FAULTS
from soak.machine import Machine


@dataclass
class Report:
    """One run."""

    seed: int
    seconds: float
    injected: Counter[str]
    #: Of each reader, and of all files.
    tallies: dict[str, Tally] = field(default_factory=dict)
    #: The samples of a second of each.
    rates: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, machine: Machine, seed: int, seconds: float, injected: Counter[str]) -> Report:
        """Stops the machine, and looks at everything that was kept."""
        report = cls(seed, seconds, injected)
        report.wrong = machine.finish()
        for client in machine.clients:
            report.tallies[client.kind] = client.account.tally
            report.rates[client.kind] = client.account.rate
            report.notes.append(
                f"{client.kind}: {client.started} started, {client.overruns} overruns, "
                f"times off their line by {client.account.off_ns / 1e6:.1f} ms at most"
            )
        recorder = machine.recorder
        report.tallies["files"], report.rates["files"] = recorder.tally, 48_000
        report.notes.append(f"files: {recorder.files}, of which {recorder.killed} were killed")
        return report

    def seconds_kept(self, reader: str) -> float:
        """Audio that is known to be what was played."""
        return self.tallies[reader].kept / self.rates[reader]

    def text(self) -> str:
        lines = [f"{self.seconds / 60:.1f} minutes, seed {self.seed}", ""]
        for fault in FAULTS:
            lines.append(f"{self.injected[fault.name]:5} x {fault.what}")
        columns = list(vars(Tally()))
        lines += ["", "seconds of audio".ljust(18) + "".join(name.rjust(10) for name in columns)]
        for name, tally in self.tallies.items():
            values = (getattr(tally, column) / self.rates[name] for column in columns)
            lines.append(name.ljust(18) + "".join(f"{value:10.1f}" for value in values))
        lines += ["", *self.notes, ""]
        lines.append(f"without a word: {len(self.wrong) or 'nothing'}")
        return "\n".join([*lines, *self.wrong])

    def write(self, path: Path) -> None:
        found = asdict(replace(self, injected=Counter())) | {"injected": dict(self.injected)}
        path.write_text(json.dumps(found, indent=1))


def read(path: Path) -> dict[str, Any]:
    """A report as it was written."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found

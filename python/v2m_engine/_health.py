"""What the engine says is wrong with a stream's source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a source; `str()` is one line with what to do."""

    kind: Literal[
        "muted",
        "silence",
        "noise",
        "too-quiet",
        "clipping",
        "dc",
        "dead-channel",
        "opposite-polarity",
    ]
    """What it is; docs/health.md explains each."""
    text: str
    """One line: what was found."""
    remedy: str
    """One line: what to do."""
    position: int
    """The position at which it began."""
    time_ns: int
    """When that was captured, CLOCK_MONOTONIC nanoseconds."""
    value: float | None = None
    """How much, in `unit`; None where there is nothing to measure."""
    unit: Literal["dBFS", "full scale"] | None = None
    """`"full scale"`: a share of it."""

    @property
    def since(self) -> float:
        """When it began in seconds, to be compared with `time.monotonic()`."""
        return self.time_ns / 1e9

    def __str__(self) -> str:
        return f"{self.text}  -> {self.remedy}"


@dataclass(frozen=True)
class Health:
    """What is wrong with a source at one moment, the worst first. Iterating gives its
    `findings`, `str()` a line for each."""

    waiting: str | None
    """Why nothing is captured, of which then nothing can be wrong; None: something is."""
    findings: tuple[Finding, ...]
    """What is wrong."""

    @property
    def ok(self) -> bool:
        """Audio is captured, and nothing is wrong with it."""
        return self.waiting is None and not self.findings

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        waiting = [] if self.waiting is None else [f"no audio: {self.waiting}"]
        return "\n".join([*waiting, *map(str, self.findings)]) or "ok"


def of(status: str) -> Health:
    """By an engine's status, JSON."""
    told: dict[str, Any] = json.loads(status)
    waiting = None
    if told["state"] not in ("running", "ended"):
        waiting = told["source"].get("waiting") or "nothing is captured yet"
    fields = Finding.__dataclass_fields__
    findings = ({name: one[name] for name in fields} for one in told["health"])
    return Health(waiting, tuple(Finding(**finding) for finding in findings))

"""Writes the tables of docs/reliability.md: what was injected, what was lost, and by whom.

python -m soak.document target/soak/report.json target/peers/faults.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from rig import ROOT
from soak.faults import FAULTS

PAGE = ROOT / "docs/reliability.md"
#: What lies between these two belongs to the program.
BEGIN, END = "<!-- {}: written by tests/soak -->", "<!-- end of {} -->"

READERS = {
    "sync": "Python, 48 kHz",
    "asyncio": "asyncio, 16 kHz",
    "segments": "utterances, 16 kHz",
    "clean": "`clean`, 48 kHz",
    "files": "recordings, 48 kHz",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def matrix(report: dict[str, Any]) -> str:
    """What was injected, and what became of the audio meanwhile."""
    lost = len(report["wrong"])
    injected = table(
        ["what happened", "times"],
        [[fault.what, str(report["injected"].get(fault.name, 0))] for fault in FAULTS],
    )
    rows = []
    for name, title in READERS.items():
        tally, rate = report["tallies"][name], report["rates"][name]
        columns = ("kept", "flagged", "cleaned", "overrun", "silent", "unknown")
        rows.append([title, *(seconds(tally[column] / rate) for column in columns)])
    head = ["reader", "as played", "flagged", "cleaned", "overrun", "source silent", "not known"]
    audio = table(head, rows)
    minutes, times = report["seconds"] / 60, sum(report["injected"].values())
    words = "nothing" if lost == 0 else f"{lost} stretches"
    return (
        f"{times} times within {minutes:.0f} minutes (seed {report['seed']}). "
        f"Lost without being told: {words}.\n\n{injected}\n\n{audio}"
    )


def others(report: dict[str, Any]) -> str:
    """Everybody under the same faults."""
    length = report["seconds"]
    rows = []
    for row in report["rows"]:
        if row["missing"]:
            said, lost = row["missing"], "-"
        else:
            # Who ends by itself or hangs hands nothing over.
            lost = f"{max(0.0, row['lasted'] - row['kept']):.1f} s" if row["kept"] else "the rest"
            said = row["said"].replace("|", "\\|") or "nothing"
        rows.append([row["name"].replace("|", "\\|"), report["faults"][row["fault"]], lost, said])
    rows.sort(key=lambda row: list(report["faults"].values()).index(row[1]))
    head = ["receiver", "what happens", f"not heard of {length:.0f} s", "what it said"]
    return table(head, rows)


def write(page: str, name: str, text: str) -> str:
    """The page with that part of it replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    assert begin in page and end in page, f"{PAGE} has no place for {name}"
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n{text}\n{end}{after}"


def faults_of(page: str) -> dict[str, int]:
    """What the page says was injected, and how often."""
    part = page.split(BEGIN.format("matrix"))[1].split(END.format("matrix"))[0]
    part = part.split("| --- | --- |")[1].split("\n\n")[0]
    return {what: int(times) for what, times in re.findall(r"\| (.+?) \| (\d+) \|", part)}


def main() -> None:
    page = PAGE.read_text()
    parts = {"matrix": matrix, "peers": others}
    for path, (name, text) in zip(sys.argv[1:], parts.items(), strict=False):
        page = write(page, name, text(json.loads(Path(path).read_text())))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

"""The peers' harness, on one that needs no download, and its document."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import document
import pytest

from rig import BINARY, ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("wireplumber") is None, reason="WirePlumber is not installed"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one run; tests that run beside this one may make another."""
    place = tmp_path_factory.mktemp("peers")
    assert BINARY.is_file()
    run = [sys.executable, str(ROOT / "benches/peers/run.py"), "--duration", "1", "--rounds", "1"]
    run += ["--results", str(place), "--only", "pw-record"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "| pw-record \\| Python (best) | 48 |" in done.stdout
    return place


@pytest.fixture(scope="module")
def report(results: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((results / "none.json").read_text())
    return result


def test_the_same_impulses_for_everybody(report: dict[str, Any]) -> None:
    assert report["graph"]["path"] == "node"
    rows = {document.title(row): row for row in report["receivers"]}
    # Seven of ours and asyncio's floor, for each stream.
    assert len(rows) == 2 * (7 + 1) + 2
    # Those whose tails are compared get more impulses, so that a p99 is one.
    for name in (document.SYNC, document.ASYNCIO, document.FLOOR):
        few, many = (rows[f"{name} ({rate} kHz)"]["sent"] for rate in (16, 48))
        assert many > 2 * few, (name, few, many)
    for form, rate in (("default", 16000), ("best", 48000)):
        row = rows[f"pw-record | Python ({form})"]
        assert row["error"] is None, row["error"]
        assert row["rate"] == rate and row["sent"] > 15
        # It may lose some where the machine stalls; then they are counted.
        assert row["received"] + row["lost"] == row["sent"] and row["received"] > 0
        assert row["cpu_percent"] > 0


def words_of(text: str) -> str:
    """Without the lines' ends."""
    return " ".join(text.split())


def figures(readme: Path) -> str:
    """What it quotes of a run."""
    return words_of(readme.read_text().split(document.BEGIN)[1].split(document.END)[0])


def test_the_document_compares_as_the_report_does(report: dict[str, Any]) -> None:
    aim = f"{document.SYNC} (48 kHz): median, of the plain reader's"
    (target,) = (target for target in report["targets"] if target["what"] == aim)
    rows = [document.own(report, name, 48000) for name in (document.SYNC, document.PLAIN)]
    assert rows[0] and rows[1]
    assert document.ratio(rows[0], rows[1]) == pytest.approx(target["value"])
    rounds = {"per_round": [3, 0, 1], "latencies_us": [4.0, 1.0, 2.0, 8.0]}
    assert document.medians(rounds) == [2.0, None, 8.0]
    assert document.ratio(rounds, rounds | {"per_round": [1, 2, 1]}) == 0.75


def test_what_readme_quotes_stands_in_the_document() -> None:
    quoted = figures(ROOT / "README.md")
    assert quoted and quoted in words_of((ROOT / "docs/benchmarks.md").read_text())


def test_ahead_and_behind() -> None:
    said = [document.against(ratio) for ratio in (0.5, 0.999, 1.001, 1.25, 3.0)]
    assert said == ["ahead by 50 %", "level", "level", "behind by 25 %", "behind by 200 %"]


def test_the_document_has_all_of_it(results: Path, report: dict[str, Any], tmp_path: Path) -> None:
    absent = copy.deepcopy(report["receivers"][-1]) | {
        "name": "absent",
        "error": "can't be installed: no such version",
        "received": 0,
    }
    hog = copy.deepcopy(report)
    for row in hog["receivers"]:
        if row["name"] == document.SYNC:
            row["name"] = document.SYNC_REMEDY
    idle = copy.deepcopy(report)
    idle["receivers"].append(absent)
    shutil.copy(results / "none.svg", tmp_path / "none.svg")
    shutil.copy(results / "none.svg", tmp_path / "gil.svg")
    reports = {"none": idle, "gil": hog, "budget": report, "stock": report, "cpu": report}
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{document.BEGIN}\nof yesterday\n{document.END}\nafter\n")
    document.write(reports, "readers  1", tmp_path, tmp_path, readme)
    text = (tmp_path / "benchmarks.md").read_text()
    quoted = readme.read_text()
    assert quoted.startswith("before\n") and quoted.endswith("\nafter\n")
    assert "yesterday" not in quoted
    assert figures(readme) and figures(readme) in words_of(text)
    for words in (
        f"Linux {report['machine']['kernel']}",
        "not measured: can't be installed: no such version",
        "16 kHz: median of the plain reader in Rust: 1",
        "48 kHz: median of the plain reader in Rust: 1",
        "From capture to Python's hand at a quantum of 256/48000, p99",
        "Medians of others in their best form, in ours (sync, same rate): pw-record",
        "pw-record | Python",
        "p99 of others in ours with `switch_interval`",
        "| 48 | all of it: from capture to Python's hand |",
        "readers 1",
    ):
        assert words in words_of(text), words
    for picture in ("none", "gil"):
        assert f"benchmarks-{picture}.svg" in text
        xml.etree.ElementTree.parse(tmp_path / f"benchmarks-{picture}.svg")

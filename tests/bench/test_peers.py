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
def report() -> dict[str, Any]:
    assert BINARY.is_file()
    run = [sys.executable, str(ROOT / "benches/peers/run.py"), "--duration", "1"]
    done = subprocess.run(
        [*run, "--only", "pw-record"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| pw-record \\| Python (best) | 48 |" in done.stdout
    result: dict[str, Any] = json.loads((ROOT / "target/peers/none.json").read_text())
    return result


def test_the_same_impulses_for_everybody(report: dict[str, Any]) -> None:
    assert report["graph"]["path"] == "node"
    rows = {document.title(row): row for row in report["receivers"]}
    assert len(rows) == 9
    for form, rate in (("default", 16000), ("best", 48000)):
        row = rows[f"pw-record | Python ({form})"]
        assert row["error"] is None, row["error"]
        assert row["rate"] == rate and row["sent"] > 15
        # It may lose some where the machine stalls; then they are counted.
        assert row["received"] + row["lost"] == row["sent"] and row["received"] > 0
        assert row["cpu_percent"] > 0


def test_the_document_has_all_of_it(report: dict[str, Any], tmp_path: Path) -> None:
    absent = copy.deepcopy(report["receivers"][-1]) | {
        "name": "absent",
        "error": "can't be installed: no such version",
        "received": 0,
    }
    hog = copy.deepcopy(report)
    hog["receivers"][4]["name"] = document.SYNC_REMEDY
    idle = copy.deepcopy(report)
    idle["receivers"].append(absent)
    shutil.copy(ROOT / "target/peers/none.svg", tmp_path / "none.svg")
    shutil.copy(ROOT / "target/peers/none.svg", tmp_path / "gil.svg")
    reports = {"none": idle, "gil": hog, "budget": report, "stock": report, "cpu": report}
    document.write(reports, "readers  1", tmp_path, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    for words in (
        f"Linux {report['machine']['kernel']}",
        "not measured: can't be installed: no such version",
        "Median of the plain reader in Rust: 1",
        "pw-record | Python",
        "p99 of others in ours with `switch_interval`",
        "| all of it: from capture to Python's hand |",
        "readers  1",
    ):
        assert words in text, words
    for picture in ("none", "gil"):
        assert f"benchmarks-{picture}.svg" in text
        xml.etree.ElementTree.parse(tmp_path / f"benchmarks-{picture}.svg")

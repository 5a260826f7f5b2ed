"""`v2m-engine bench latency` on a private PipeWire and in sessions. No time is judged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from rig import BINARY, PrivatePipeWire
from rig.bench import Bench

OURS = [
    "ring (written)",
    "reader, this process",
    "reader, other process",
    "C",
    "Python, sync",
    "Python, asyncio",
    "Python, asyncio on uvloop",
]
#: What an event loop costs by itself: on a machine that has nothing else to do.
FLOOR = "asyncio's floor"
RATES = (16000, 48000)
#: Where rows are not what is looked at.
SPEECH = ("--rate", "16000")


def check_rows(report: dict[str, Any], least: int) -> None:
    """Everybody heard nearly everything, and nothing is unaccounted for."""
    for row in report["receivers"]:
        assert row["error"] is None, row["error"]
        assert row["sent"] == row["received"] + row["lost"]
        assert row["sent"] >= least, f"{row['name']}: {row['sent']}"
        assert row["lost"] <= row["lost_in_gaps"], f"{row['name']} lost {row['lost']}"
        assert row["duplicated"] == 0, row["name"]
        assert len(row["latencies_us"]) == row["received"] == sum(row["per_round"])
        assert row["next_cycle"] <= row["received"]
        # What the graph has already needs no resampler.
        assert (row["resampler_us"] > 0) == (row["rate"] < 48000)
        latency = row["latency"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert row["from_capture"]["p50"] > latency["p50"]


def test_every_receiver_in_json_text_and_picture(bench: Bench, tmp_path: Path) -> None:
    result, picture = tmp_path / "result.json", tmp_path / "result.svg"
    done = bench(
        *("--duration", "2", "--rounds", "2", "--quantum", "256"),
        *("--json", str(result), "--svg", str(picture)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    rows = report["receivers"]
    assert [(row["rate"], row["name"]) for row in rows] == [
        (r, name) for r in RATES for name in (*OURS, FLOOR)
    ]
    check_rows(report, least=30)
    assert all(len(row["per_round"]) == 2 and min(row["per_round"]) > 0 for row in rows)
    assert report["graph"]["path"] == "private"
    assert (report["graph"]["quantum"], report["graph"]["rate"]) == (256, 48000)
    assert report["machine"]["kernel"].startswith(os.uname().release)
    assert report["injector"]["impulses"] > 10 * 30
    aims = " ".join(target["what"] for target in report["targets"])
    assert all(f"({rate // 1000} kHz): median, of {FLOOR}'s" in aims for rate in RATES)
    assert [step["rate"] for step in report["budget"]] == [16000] * 5 + [48000] * 5
    for row in rows:
        assert f"{row['name']} ({row['form']})" in done.stdout
    for line in ("quantum 256/48000", "audio thread", "Linux", "load: none", "jitter"):
        assert line in done.stdout

    svg = xml.etree.ElementTree.parse(picture).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    names = (*OURS, FLOOR)
    assert {f"{name} ({rate // 1000} kHz)" for name in names for rate in RATES} <= set(texts)
    classes = [path.get("class") for path in svg.iter("{http://www.w3.org/2000/svg}path")]
    assert classes.count("bars") == classes.count("curve") == len(rows)


def test_stock_graph_with_the_gil_hogged(bench: Bench, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = bench(
        *("--stock", "--load", "gil", "--duration", "1", "--rounds", "1", "--rate", "48000"),
        *("--json", str(result)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    names = [row["name"] for row in report["receivers"]]
    assert names == [*OURS, *(f"{name}, switch_interval" for name in OURS[4:6])]
    check_rows(report, least=15)
    # The engine asked for it; the graph itself runs at 1024.
    assert report["graph"]["quantum"] == 128


def test_every_core_busy(bench: Bench, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    arguments = ("--load", "cpu", "--duration", "1", "--rounds", "1", "--quantum", "512")
    done = bench(*arguments, *("--rate", "24000", "--rate", "8000"), "--json", str(result))
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    assert [row["rate"] for row in report["receivers"]] == [8000] * len(OURS) + [24000] * len(OURS)
    check_rows(report, least=15)


def test_python_without_the_module_is_told_how_to_get_it(bench: Bench, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = bench(
        *("--duration", "1", "--rounds", "1", *SPEECH, "--json", str(result)),
        *("--python", "/nonexistent/python3"),
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(result.read_text())["receivers"]}
    assert "--python" in rows["Python, sync"]["error"]
    assert rows["Python, asyncio"]["received"] == 0
    assert rows["reader, other process"]["received"] > 15
    assert "/nonexistent/python3" in done.stdout


def test_peers_are_measured_or_told_why_not(bench: Bench, tmp_path: Path) -> None:
    missing = {"name": "absent", "form": "best", "missing": "not installed: install it"}
    failing = {"name": "failing", "command": ["sh", "-c", "echo no luck >&2; exit 3"]}
    silent = {"name": "broken", "command": ["sh", "-c", "echo ready 48000; cat; echo x"]}
    # Another one of ours, as anybody could write it.
    reader = {"name": "theirs", "form": "default", "command": [str(BINARY), "bench", "receiver"]}
    peers, result = tmp_path / "peers.json", tmp_path / "result.json"
    # Only in the first of two rounds.
    seldom = reader | {"name": "seldom", "every": 2}
    peers.write_text(json.dumps([missing, failing, silent, reader, seldom]))
    done = bench(
        *("--duration", "2", "--rounds", "2", *SPEECH, "--json", str(result)),
        *("--peers", str(peers)),
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(result.read_text())["receivers"]}
    check_rows({"receivers": [row for row in rows.values() if row["ours"]]}, least=30)
    assert rows["seldom"]["sent"] < 30 < rows["theirs"]["sent"]
    assert rows["absent"]["error"] == "not installed: install it"
    assert "no luck" in rows["failing"]["error"]
    assert "cut short" in rows["broken"]["error"]
    assert rows["theirs"]["received"] > 15 and rows["theirs"]["ours"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--quantum", "8"), "8"),
        (("--quantum", "many"), "many"),
        (("--load", "all"), "none, cpu or gil"),
        (("--duration", "0"), "0"),
        (("--rounds", "0"), "0"),
        (("--rate", "44100"), "44100"),
        (("--private", "--physical"), "--physical"),
        (("--source", "default"), "--physical"),
        (("--peers", "/nonexistent/peers.json"), "/nonexistent/peers.json"),
        (("--unknown",), "--unknown"),
    ],
)
def test_wrong_usage(bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", "peers.json"),
        ('[{"name": "x"}]', "no command"),
        ('[{"name": "x", "command": ["y"], "drain_s": 1e9}]', "drain_s"),
        ('[{"name": "x", "command": ["y"], "colour": 1}]', "colour"),
    ],
)
def test_wrong_peers(bench: Bench, tmp_path: Path, text: str, words: str) -> None:
    peers = tmp_path / "peers.json"
    peers.write_text(text)
    done = bench("--peers", str(peers))
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_results_that_can_not_be_kept_are_refused_at_once(bench: Bench, tmp_path: Path) -> None:
    done = bench("--json", str(tmp_path / "nowhere/result.json"))
    assert done.returncode == 1 and "nowhere/result.json" in done.stderr


def test_a_real_loop_needs_hardware(bench: Bench) -> None:
    done = bench("--physical", "--duration", "1")
    assert done.returncode == 1 and "session" in done.stderr, done.stderr
    with PrivatePipeWire(quantum=256) as rig:
        done = bench("--physical", "--source", "no-such-mic", env=rig.env)
        assert done.returncode == 1 and "no-such-mic" in done.stderr, done.stderr
        done = bench("--physical", "--source", "rig-mic", env=rig.env)
        assert done.returncode == 1 and "no loudspeaker" in done.stderr, done.stderr


def test_a_loop_through_a_sink_and_its_monitor(bench: Bench, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with PrivatePipeWire(quantum=256) as rig:
        rig.create_sink("loudspeaker", channels=("MONO",))
        done = bench(
            *("--physical", "--source", "monitor:loudspeaker", "--duration", "1"),
            *("--rounds", "1", *SPEECH, "--json", str(result)),
            env=rig.env,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    assert report["graph"]["path"] == "physical"
    check_rows(report, least=15)


def test_a_session_without_a_manager_gets_a_direct_path(bench: Bench, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with PrivatePipeWire(quantum=256) as rig:
        arguments = ("--duration", "1", "--rounds", "1", *SPEECH, "--json", str(result))
        done = bench(*arguments, env=rig.env)
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    assert report["graph"]["path"] == "direct"
    check_rows(report, least=15)


@pytest.mark.skipif(shutil.which("wireplumber") is None, reason="WirePlumber is not installed")
def test_a_session_gets_a_loopback(bench: Bench, tmp_path: Path) -> None:
    from rig.session import Session

    result = tmp_path / "result.json"
    with Session(quantum=256) as session:
        env = {k: v for k, v in session.env.items() if k.startswith(("XDG_", "PIPEWIRE_"))}
        arguments = ("--duration", "1", "--rounds", "1", *SPEECH, "--json", str(result))
        done = bench(*arguments, env=env)
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    assert report["graph"]["path"] == "loopback"
    check_rows(report, least=15)


def test_an_interrupted_bench_leaves_nothing_behind(bench: Bench) -> None:
    process = subprocess.Popen(
        [BINARY, "bench", "latency", "--python", sys.executable],
        env=bench.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "round 1" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "interrupted" in said
    assert not list((bench.directory / "tmp").iterdir())
    mine = str(bench.directory)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            assert mine.encode() not in environment or int(entry.name) == os.getpid()

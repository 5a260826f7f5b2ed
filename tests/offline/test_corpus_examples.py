"""The programs for clusters in python/examples, on a local one: where `datasets`, Dask or Ray
are installed (`pip install datasets 'dask[distributed]' 'ray[data]'`)."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rig import ROOT
from rig.speech import Talk
from v2m_engine import VADProcessor

EXAMPLES = ROOT / "python/examples"


def lines(path: Path) -> list[dict[str, Any]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("corpus_datasets.py", "datasets"),
        ("corpus_dask.py", "distributed"),
        ("corpus_ray.py", "ray"),
    ],
)
def test_a_corpus_goes_through_two_workers(
    program: str, package: str, talk: Talk, tmp_path: Path
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    folder = tmp_path / "recordings"
    folder.mkdir()
    for n in range(40):
        shutil.copy(talk.path, folder / f"{n:02}.wav")
    (folder / "17.wav").write_text("no audio")
    out = tmp_path / "out.jsonl"
    command = [sys.executable, EXAMPLES / program, folder, out, "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = VADProcessor(min_silence_ms=300).speech_timestamps(talk.samples, True)
    found = {Path(line["path"]).name: line for line in lines(out)}
    assert len(found) == 40
    for name, line in found.items():
        if name == "17.wav":
            assert "17.wav" in line["error"]
            continue
        stretches = line["speech"]
        if isinstance(stretches, str):
            stretches = [
                dict(zip(("start", "end"), s, strict=True)) for s in ast.literal_eval(stretches)
            ]
        assert stretches == expected

"""The programs for clusters in python/examples, each on a local one of two workers."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig import ROOT
from rig.speech import TEXTS, Talk
from v2m_engine import VADProcessor

EXAMPLES = ROOT / "python/examples"


def lines(path: Path) -> list[dict[str, Any]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("program", ["corpus_datasets.py", "corpus_dask.py", "corpus_ray.py"])
def test_a_corpus_goes_through_two_workers(program: str, tmp_path: Path) -> None:
    talk = Talk(tmp_path / "talk.wav", texts=TEXTS[:2])
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

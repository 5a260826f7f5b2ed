"""Everything that happens on a machine, for five minutes; `make soak HOURS=2` goes on."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from rig import ROOT
from soak.__main__ import soak
from soak.document import PAGE, faults_of
from soak.faults import FAULTS

SECONDS = 300


@pytest.mark.first
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own")
def test_nothing_is_lost_without_a_word(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(1 << 32))
    report = soak(SECONDS, seed, tmp_path)
    text = report.text()
    print(text)
    assert not report.wrong, text
    # Each fault came, and audio came through between them.
    assert set(report.injected) == {fault.name for fault in FAULTS}, text
    assert all(
        report.seconds_kept(reader) > SECONDS / 20 for reader in ("sync", "asyncio", "files")
    )


def test_the_page_has_every_fault() -> None:
    """As the program wrote it: docs/reliability.md can't say more than was injected."""
    injected = faults_of(PAGE.read_text())
    assert list(injected) == [fault.what for fault in FAULTS]
    assert all(count > 0 for count in injected.values())
    assert PAGE.is_relative_to(ROOT / "docs")

"""One talk for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.speech import TEXTS, Talk


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    return Talk(tmp_path_factory.mktemp("talk") / "talk.wav", texts=TEXTS[:3], snr=30)


@pytest.fixture
def talk_path(tmp_path: Path) -> Path:
    return Talk(tmp_path / "talk.wav", texts=TEXTS[:1]).path

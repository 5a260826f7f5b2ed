"""What the doctor advises, to be tried as it is printed."""

from __future__ import annotations

import re
from typing import Any

from rig import ROOT

SOURCE = ROOT / "src/doctor/remedies.rs"
CONSTANT = re.compile(r'const ([A-Z_]+): Remedy =\s*fixed\(\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)


def remedies() -> dict[str, str]:
    """All of them by name."""
    listed: list[tuple[str, str]] = CONSTANT.findall(SOURCE.read_text())
    return {name: re.sub(r"\\\n\s*", "", text).replace('\\"', '"') for name, text in listed}


def printed(check: dict[str, Any], name: str) -> str:
    """What this check advises, which has to be what has this name: a command for a shell."""
    said: str = check["remedy"] or ""
    pattern = re.escape(remedies()[name]).replace("KIB", r"\d+")
    assert re.fullmatch(pattern, said), (name, check)
    return said

"""Where speech is, as silero-vad gives it: dictionaries of samples or of seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._native import _Timestamp


def of(
    stretches: list[tuple[int, int]],
    samples: int,
    rate: int,
    in_seconds: bool,
    decimals: int | None,
) -> list[_Timestamp]:
    """Those of audio of so many `samples`, in samples or in seconds of so many `decimals`."""
    if not in_seconds:
        return [{"start": start, "end": end} for start, end in stretches]

    def seconds(position: int) -> float:
        exactly = position / rate
        # Rounded, never beyond the end.
        return exactly if decimals is None else min(round(exactly, decimals), samples / rate)

    return [{"start": seconds(start), "end": seconds(end)} for start, end in stretches]

"""Speech in many recordings, in one call."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from ._native import VADProcessor

if TYPE_CHECKING:
    from ._native import _Audio, _Timestamp


def speech_timestamps_many(
    items: Iterable[_Audio | str | PathLike[str]],
    jobs: int | None = None,
    *,
    return_seconds: bool = False,
    sample_rate: int = 16000,
    time_resolution: int | None = None,
    **parameters: Any,
) -> list[list[_Timestamp] | Exception]:
    """`VADProcessor(**parameters).speech_timestamps_many(items, jobs, ...)`: where speech is in
    many recordings, arrays and files, on all cores.

    Raises:
        ValueError, TypeError: a parameter is none of `VADProcessor`'s; else as the method.
    """
    return VADProcessor(**parameters).speech_timestamps_many(
        items,
        jobs,
        return_seconds=return_seconds,
        sample_rate=sample_rate,
        time_resolution=time_resolution,
    )

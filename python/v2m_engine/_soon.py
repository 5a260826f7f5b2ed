"""Stands in for what the native module will have: dtype, bytes(chunk), sources()."""
# ruff: noqa

# mypy: ignore-errors
import json, os, subprocess, shutil, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from . import _native


@dataclass(frozen=True)
class Source:
    name: str
    description: str
    kind: str
    default: bool
    muted: bool
    channels: object
    rate: int


def sources():
    binary = os.environ.get("V2M_ENGINE_BIN") or str(Path(sys.executable).with_name("v2m-engine"))
    done = subprocess.run([binary, "sources", "--json"], capture_output=True, check=True)
    return [
        Source(
            s["name"],
            s.get("description") or "",
            "monitor" if s["name"].startswith("monitor:") else s.get("kind", "microphone"),
            s["default"],
            False,
            s.get("channels"),
            s.get("rate") or 0,
        )
        for s in json.loads(done.stdout)
    ]


class Chunk:
    def __init__(self, chunk, dtype):
        self._chunk, self._dtype = chunk, dtype
        if dtype == "int16":
            f = np.asarray(chunk)
            self._owned = np.clip(np.rint(f * np.float32(32768)), -32768, 32767).astype("<i2")
        else:
            self._owned = np.asarray(chunk)

    def __bytes__(self):
        return self._owned.tobytes()

    def copy(self):
        return self._owned.copy()

    def __array__(self, *a, **k):
        return self._owned

    def __len__(self):
        return len(self._owned)

    def __getattr__(self, name):
        return getattr(self._chunk, name)


class Wrapped:
    def __init__(self, inner, dtype):
        self._inner, self._dtype = inner, dtype

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __enter__(self):
        self._inner.__enter__()
        return self

    def __exit__(self, *e):
        return self._inner.__exit__(*e)

    async def __aenter__(self):
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *e):
        return await self._inner.__aexit__(*e)

    def __iter__(self):
        return self

    def __aiter__(self):
        return self

    def __next__(self):
        return Chunk(next(self._inner), self._dtype)

    async def __anext__(self):
        return Chunk(await self._inner.__anext__(), self._dtype)

    def segments(self, *a, **k):
        return Wrapped(self._inner.segments(*a, **k), self._dtype)


class AudioCapture:
    def __init__(
        self,
        sample_rate=16000,
        buffer_size=4096,
        *,
        source=None,
        channel=None,
        dtype="float32",
        engine="auto",
        latency=None,
    ):
        self._inner = _native.AudioCapture(
            sample_rate, buffer_size, source=source, channel=channel, engine=engine, latency=latency
        )
        self.dtype = dtype

    def stream(self, *a, **k):
        return Wrapped(self._inner.stream(*a, **k), self.dtype)

    def __getattr__(self, name):
        return getattr(self._inner, name)


AudioStream = Wrapped

"""Where speech is in a folder of recordings, by Ray Data on one machine or a cluster.

    python corpus_ray.py FOLDER OUT [ACTORS]

OUT becomes a folder of JSON lines. The folders have to be where the actors run, too.
"""

import sys
from pathlib import Path
from typing import Any

import ray

from v2m_engine import VADProcessor


class Speech:
    """Made once by each actor."""

    def __init__(self) -> None:
        self.vad = VADProcessor(min_silence_ms=300)

    def __call__(self, batch: dict[str, list[str]]) -> dict[str, Any]:
        paths = list(batch["path"])
        found = self.vad.speech_timestamps_many(paths, jobs=1, return_seconds=True)
        failed = [str(f) if isinstance(f, Exception) else "" for f in found]
        stretches = [
            [] if isinstance(f, Exception) else [[s["start"], s["end"]] for s in f] for f in found
        ]
        # Lists of several lengths: as text, which every table holds.
        return {"path": paths, "speech": [str(s) for s in stretches], "error": failed}


if __name__ == "__main__":
    folder, out, *actors = sys.argv[1:]
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    dataset = ray.data.from_items([{"path": path} for path in paths])
    found = dataset.map_batches(
        Speech,
        batch_size=16,
        concurrency=int(actors[0]) if actors else 1,
        # A core is left for Ray's own tasks, also where there are only two.
        num_cpus=0.5,
        batch_format="numpy",
    )
    found.write_json(out)

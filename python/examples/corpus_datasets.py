"""Where speech is in a folder of recordings, by Hugging Face `datasets` in several processes.

    python corpus_datasets.py FOLDER OUT.jsonl [PROCESSES]

The model is in the module and ready in milliseconds: each process makes its own processor.
"""

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from v2m_engine import VADProcessor

vad = VADProcessor(min_silence_ms=300)


def speech(batch: dict[str, list[str]]) -> dict[str, Any]:
    # One process per core already: one job in each.
    found = vad.speech_timestamps_many(batch["path"], jobs=1, return_seconds=True)
    failed = [str(f) if isinstance(f, Exception) else None for f in found]
    stretches = [[] if isinstance(f, Exception) else f for f in found]
    return {"speech": stretches, "error": failed}


if __name__ == "__main__":
    folder, out, *processes = sys.argv[1:]
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    dataset = Dataset.from_dict({"path": paths})
    found = dataset.map(
        speech, batched=True, batch_size=64, num_proc=int(processes[0]) if processes else None
    )
    found.to_json(out)

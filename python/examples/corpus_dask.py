"""Where speech is in a folder of recordings, by Dask on one machine or a cluster.

    python corpus_dask.py FOLDER OUT.jsonl [SCHEDULER]

SCHEDULER is the address of a cluster, or a number of local workers. The folder has to be where
the workers run, too.
"""

import json
import sys
from pathlib import Path

from dask.distributed import Client, LocalCluster

from v2m_engine import VADProcessor

#: It pickles: each worker gets a copy, with the model, which is in the module.
vad = VADProcessor(min_silence_ms=300)


def speech(vad: VADProcessor, paths: list[str]) -> list[dict[str, object]]:
    found = vad.speech_timestamps_many(paths, jobs=1, return_seconds=True)
    return [
        {"path": path, "error": str(f)} if isinstance(f, Exception) else {"path": path, "speech": f}
        for path, f in zip(paths, found, strict=True)
    ]


def main() -> None:
    folder, out, *scheduler = sys.argv[1:]
    address = scheduler[0] if scheduler else "2"
    local = (
        LocalCluster(n_workers=int(address), threads_per_worker=1) if address.isdigit() else None
    )
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    with Client(local or address) as client, open(out, "w") as lines:
        parts = [paths[n : n + 16] for n in range(0, len(paths), 16)]
        for found in client.gather(client.map(speech, [vad] * len(parts), parts)):
            lines.writelines(json.dumps(one) + "\n" for one in found)
    if local:
        local.close()


if __name__ == "__main__":
    main()

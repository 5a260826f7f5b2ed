"""A command-line recorder whose standard output Python reads.
Usage: with_pipe.py RATE default|best COMMAND ARGUMENT..."""

from __future__ import annotations

import os
import subprocess
import sys

from common import Recorder, now


def main() -> None:
    rate, form, *command = sys.argv[1:]
    recorder = Recorder(int(rate))
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    recorder.at_end(process.terminate)
    rest = b""
    while not recorder.over:
        if form == "best":
            # What there is, as soon as there is any.
            data = os.read(process.stdout.fileno(), 65536)
        else:
            data = process.stdout.read(1024 * 4)
        held = now()
        if not data:
            break
        data = rest + data
        whole = len(data) // 4 * 4
        data, rest = data[:whole], data[whole:]
        recorder.take(held, data)
    process.terminate()
    status = process.wait()
    if not recorder.over:
        sys.exit(f"{command[0]} ended with status {status}")
    recorder.write()


main()

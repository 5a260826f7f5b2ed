"""JACK-Client through pipewire-jack: a process callback. The graph's rate and quantum are
all there is; "best" differs in asking for the quantum (PIPEWIRE_LATENCY).
Usage: with_jack.py"""

from __future__ import annotations

import os

import jack
from common import Recorder, now


def main() -> None:
    client = jack.Client("peer-jack")
    recorder = Recorder(client.samplerate)
    port = client.inports.register("input")

    @client.set_process_callback
    def process(frames: int) -> None:
        recorder.take(now(), bytes(port.get_buffer()))

    source = os.environ["V2M_BENCH_SOURCE"]
    with client:
        outputs = [p for p in client.get_ports(is_output=True, is_audio=True) if source in p.name]
        # The description names its ports, not the node.
        for output in outputs or client.get_ports("Rig microphone", is_output=True):
            client.connect(output, port)
        recorder.wait()
    recorder.write()


main()

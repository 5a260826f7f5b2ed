"""JACK-Client through pipewire-jack: a process callback. The graph's rate and quantum are
all there is; "best" differs in asking for the quantum (PIPEWIRE_LATENCY). What speech software
has to add is a resampler: soxr in the callback, if its quality is given.
Usage: with_jack.py [HQ|LQ]"""

from __future__ import annotations

import os
import sys

import jack
from common import SPEECH_RATE, Recorder, now


def main() -> None:
    client = jack.Client("peer-jack")
    port = client.inports.register("input")
    qualities = sys.argv[1:]
    recorder = Recorder(SPEECH_RATE if qualities else client.samplerate)
    if qualities:
        resampled(client, port, qualities[0], recorder)
    else:

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


def resampled(client: jack.Client, port: jack.OwnPort, quality: str, recorder: Recorder) -> None:
    """Has the callback make 16 kHz of what comes."""
    import numpy as np
    import soxr

    stream = soxr.ResampleStream(client.samplerate, SPEECH_RATE, 1, np.float32, quality)

    @client.set_process_callback
    def process(frames: int) -> None:
        samples = stream.resample_chunk(port.get_array())
        if len(samples):
            recorder.take(now(), samples.tobytes())


main()

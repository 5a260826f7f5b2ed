"""GStreamer: pipewiresrc ! appsink, by PyGObject of the distribution's own Python.
Usage: with_gstreamer.py default|best"""

from __future__ import annotations

import sys

import gi
from common import GRAPH_RATE, QUANTUM, SPEECH_RATE, Recorder, now

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402


def main() -> None:
    best = sys.argv[1] == "best"
    rate = GRAPH_RATE if best else SPEECH_RATE
    recorder = Recorder(rate)
    Gst.init(None)
    form = f"audio/x-raw,format=F32LE,rate={rate},channels=1"
    # Best: the graph's own format needs no converting, and the stream asks for its quantum.
    asking = f"stream-properties=p,node.latency={QUANTUM}/{GRAPH_RATE}" if best else ""
    between = "" if best else "! audioconvert ! audioresample"
    pipeline = Gst.parse_launch(
        f"pipewiresrc {asking} {between} ! {form} ! appsink name=sink sync=false"
    )
    sink: GstApp.AppSink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    while not recorder.over:
        sample = sink.try_pull_sample(Gst.SECOND // 10)
        held = now()
        if sample is None:
            if (message := pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)) is not None:
                sys.exit(message.parse_error().gerror.message)
            continue
        buffer = sample.get_buffer()
        recorder.take(held, buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)
    recorder.write()


main()

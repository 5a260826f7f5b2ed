"""PipeWire's module-echo-cancel, in a process of its own as `pipewire -c` runs it, and another
receiver that hears its source. What it does besides cancelling is off.
Usage: with_echo_cancel.py COMMAND ARGUMENT..."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = "peer-echo-cancel-source"
# Without node.latency: it is the plugin's 10 ms then, and less is not possible.
CONFIGURATION = """
context.spa-libs = {
    audio.convert.* = audioconvert/libspa-audioconvert
    support.*       = support/libspa-support
}
context.modules = [
    { name = libpipewire-module-rt args = { nice.level = -11 } flags = [ ifexists nofail ] }
    { name = libpipewire-module-protocol-native }
    { name = libpipewire-module-client-node }
    { name = libpipewire-module-adapter }
    { name = libpipewire-module-echo-cancel
        args = {
            audio.rate = 48000
            audio.channels = 1
            monitor.mode = true
            aec.args = {
                webrtc.gain_control = false
                webrtc.noise_suppression = false
                webrtc.high_pass_filter = false
            }
            capture.props = { node.name = peer-echo-cancel-capture target.object = "MICROPHONE" }
            source.props = { node.name = SOURCE }
        }
    }
]
"""


def main() -> None:
    text = CONFIGURATION.replace("MICROPHONE", os.environ["V2M_BENCH_SOURCE"]).replace(
        "= SOURCE", f"= {SOURCE}"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        Path(file.name).write_text(text)
        with subprocess.Popen(["pipewire", "-c", file.name]) as module:
            try:
                environment = os.environ | {"PIPEWIRE_NODE": SOURCE}
                status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
            finally:
                module.send_signal(signal.SIGTERM)
    sys.exit(status)


main()

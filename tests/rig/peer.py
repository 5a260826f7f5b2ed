"""A client that speaks the engine's protocol itself."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from rig.independent_reader import Ring


class Peer:
    """A client that speaks the protocol itself, and the ring that it was given."""

    def __init__(self, path: str | Path, **wanted: Any) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.open(**wanted)

    def open(self, **wanted: Any) -> None:
        self.socket.send(json.dumps({"request": "open", "version": 2} | wanted).encode())
        packet, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 4)
        self.reply = json.loads(packet)
        self.ring = None
        for descriptor in descriptors:
            self.ring = Ring(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        self.socket.close()

"""Wyoming: a microphone with speech detection for Home Assistant's voice programs.

Needs `pip install wyoming`. `python -m v2m_engine.integrations.wyoming --help` is the same as a
command.
"""

import asyncio
import sys

from v2m_engine.integrations.wyoming import serve

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:10600"
asyncio.run(serve(address))

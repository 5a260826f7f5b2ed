"""SIGINT as a user's shell has it."""

from __future__ import annotations

import signal

# Tests that were started in a shell's background have SIGINT ignored, and so would what they
# start; a handler of one's own isn't inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

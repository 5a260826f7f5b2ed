"""Runs a command under a seccomp filter that refuses io_uring, as containers do.

Usage: no_io_uring.py COMMAND [ARGUMENT...]
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
#: io_uring_setup, _enter, _register: the same numbers on every architecture.
NUMBERS = (425, 426, 427)


def instruction(code: int, yes: int, no: int, operand: int) -> bytes:
    return struct.pack("HBBI", code, yes, no, operand)


program = instruction(0x20, 0, 0, 0)  # load the system call's number
for index, number in enumerate(NUMBERS):
    left = len(NUMBERS) - index - 1
    program += instruction(0x15, left + 1, 0, number)  # equal: to the refusal
program += instruction(0x06, 0, 0, ALLOW)
program += instruction(0x06, 0, 0, REFUSE)

text = ctypes.create_string_buffer(program, len(program))
header = struct.pack("HP", len(program) // 8, ctypes.addressof(text))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0
):
    sys.exit(f"cannot install the filter: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])

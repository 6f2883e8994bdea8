"""The state of the kernel's clock, by the system call adjtimex, which neither psutil nor Python's library has."""

import ctypes
import os
from typing import Final, NamedTuple

STA_UNSYNC: Final = 0x0040  # this and the next two: linux/timex.h
STA_NANO: Final = 0x2000
TIME_ERROR: Final = 5

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Clock(NamedTuple):
    """The state of the kernel's clock."""

    synchronised: bool
    offset: float  # seconds that are left to set right
    estimated_error: float  # seconds


class _Timex(ctypes.Structure):
    """The first fields of ``struct timex`` (linux/timex.h), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def read_clock() -> Clock:
    """Read the kernel's clock state. Raises ``OSError`` where a filter of system calls forbids it."""
    timex = _Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"adjtimex: {os.strerror(number)}")
    return Clock(
        synchronised=state != TIME_ERROR and not timex.status & STA_UNSYNC,
        offset=timex.offset / (1e9 if timex.status & STA_NANO else 1e6),
        estimated_error=timex.esterror / 1e6,
    )

"""Log files of wires: written from any of them, read back, replayed and put into words.

A *record* is one frame with the nanosecond of its last bit on a numbered *channel* (a wire). One
module of `recording.formats` for each file format, found by the file's ending.
"""

from recording.records import (
    CanErrorFrame,
    CanFrame,
    Channel,
    EthernetFrame,
    LogError,
    Record,
)

__all__ = [
    "CanErrorFrame",
    "CanFrame",
    "Channel",
    "EthernetFrame",
    "LogError",
    "Record",
]

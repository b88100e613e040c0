"""The wires in words: a line for each frame, signal message, diagnostic message that passes."""

from recording.trace.lines import Kind, Line
from recording.trace.names import VehicleNames
from recording.trace.tracer import TraceOptions, Tracer
from recording.trace.wires import IsoTpPair

__all__ = ["IsoTpPair", "Kind", "Line", "TraceOptions", "Tracer", "VehicleNames"]

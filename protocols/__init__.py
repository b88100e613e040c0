"""The wires' languages and rules: bytes <-> values. No I/O, no clock, no threads."""

"""Tests on real SocketCAN: they need an interface `vcan0`, and are marked `vcan`.

    python -m tests.vcan

runs them: on this kernel if it has vcan, else on Debian's own in an emulated machine (`guest`).
"""

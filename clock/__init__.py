"""The virtual and the real-time event loop."""

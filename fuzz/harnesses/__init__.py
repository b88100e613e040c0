"""The harnesses: one module per decoder, found by its name."""

"""Sweeps: one fault at every point where one can happen, and what is left of the car after it.

One module per sweep; `commands.py` has their commands.
"""

"""Mutation testing: small mistakes are put into the code, and some test has to notice each.

    python -m tests.mutation ecu_sim/boot
    python -m tests.mutation vehicle_gateway/update --sample 100 --seed 3

Targets and the tests that matter for them stand in `targets.py`. The tests are collected once; each
mutant lives in a process of its own that is forked from there, has the body of one function
exchanged, and runs the tests that reach it, the quickest first, until one fails.
"""

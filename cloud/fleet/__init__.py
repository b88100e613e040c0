"""The fleet's rules: what a vehicle, a release and a campaign are, and what follows from evidence.

Pure: values in, values out. Rows come from and go to `cloud.store`; time, nonces and messages are
handed in.
"""

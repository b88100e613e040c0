"""The back end: fleet.v1 for operators and gateways, campaigns, store, reports."""

"""`fleet.v1` for operators: one module for each service; errors and deadlines for all of them."""

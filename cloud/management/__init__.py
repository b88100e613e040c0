"""How vehicles are managed, the server's end: one module for each protocol."""

"""How files reach vehicles, the server's end: one module for each transfer."""

"""The vehicle's ECUs: simulated wires, memory, boot loaders, diagnostics, running firmware."""

"""The resolver exporter: is this resolver host well, and is it serving? It runs on each resolver host."""

"""The collectors of the resolver exporter, one a file."""

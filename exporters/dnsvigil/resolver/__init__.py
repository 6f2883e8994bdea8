"""The resolver exporter: metrics of a resolver host and its resolver. It runs on each resolver host."""

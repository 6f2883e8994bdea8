"""A small HTTP server that takes TLS, users and headers from Prometheus's web configuration file."""

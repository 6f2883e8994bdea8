"""Zeek's logs: found, read in batches, and parsed into tables."""

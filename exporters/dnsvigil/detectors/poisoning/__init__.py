"""Attempts to poison the caches of resolvers, on the wire and in what the answers say."""

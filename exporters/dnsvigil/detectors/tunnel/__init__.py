"""Tunnels and leaks: data in names and answers."""

"""Tunnels and leaks: clients that carry data in names and answers."""

"""Abuse by clients: spam and sweeps of reverse zones."""

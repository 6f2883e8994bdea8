"""Hosts in the operator's networks that answer recursive queries from outside, ranked by the harm that they can do."""

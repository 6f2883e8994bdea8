"""Passive DNS of others, asked with the operator's own key."""

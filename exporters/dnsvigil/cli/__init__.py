"""The command ``dnsvigil``: its options, and a file for each of its commands."""

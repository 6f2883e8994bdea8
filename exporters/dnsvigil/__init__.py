"""dnsvigil: monitoring for the people who run recursive DNS resolvers."""

__version__ = "0.1.0"

"""The running collector: follows the sources and serves what the store holds."""

"""What an operator configures, and how the files that say it are read."""

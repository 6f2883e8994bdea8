"""What is below all else: files opened safely, programs found, text made harmless for a terminal and for SQL."""

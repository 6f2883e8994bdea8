"""What the operating system gives: files opened safely, programs found, and text for a terminal."""

"""What programs ask the collector over HTTP, and commands ask the store."""

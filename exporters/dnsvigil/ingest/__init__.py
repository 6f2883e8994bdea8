"""What a batch of records does to the store."""

"""Look-ups in passive DNS: from a question in text to what is found, in the forms that other programs expect."""

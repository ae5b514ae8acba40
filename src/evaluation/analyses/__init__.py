"""What a sceptic asks of a score: one question, one module."""

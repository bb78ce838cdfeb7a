"""What was configured: typed, strict, immutable, read once."""

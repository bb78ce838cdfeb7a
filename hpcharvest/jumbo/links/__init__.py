"""What the head and its nodes speak through."""

"""The loop that decides, and everything it puts in motion."""

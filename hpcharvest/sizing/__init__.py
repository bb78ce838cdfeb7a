"""What shape to ask for. Pure."""

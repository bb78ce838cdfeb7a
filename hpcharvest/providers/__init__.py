"""Batch systems: text dialects, the one class that runs their commands, and Parsl's faces."""

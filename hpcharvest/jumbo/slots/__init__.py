"""Payloads that take event ranges: one module for each kind. Standard library only."""

"""Alembic's migrations of the tables: each version is one file, and none is ever changed once it was released.

A new one: change `store/schema.py`, add `versions/NNNN_subject.py` and move `store/upgrade.py: HEAD` to it.
"""

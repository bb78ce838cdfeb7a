"""The versions, in order. Each says its statements itself: what `schema.py` says later does not change the past."""

"""A command line before radical.saga, so that a dialect of text can speak to it: `python -m` runs it.

It wants the standard library and radical.saga alone, and may so run under a Python of its own. What it says of batch
jobs is `judge`, what it keeps of them on disk is `records`, and radical.saga itself is known to `reach` only.
"""

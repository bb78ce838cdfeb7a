"""The runner inside an allocation: head and slots. Standard library only."""

"""The process on each node: it fills the node's slots with event ranges. Standard library only."""

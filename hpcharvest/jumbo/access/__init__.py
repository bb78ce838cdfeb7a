"""Access points: what is said to payloads by panda-harvester's files. Standard library only."""

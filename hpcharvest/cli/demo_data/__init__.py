"""What `hpcharvest demo` runs: a program that makes collisions, its steering cards, and a check of what it made."""

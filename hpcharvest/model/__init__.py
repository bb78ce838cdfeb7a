"""Nouns, states and facts: what hpcharvest talks about. No I/O, no clock, no library but the standard one."""

"""A PanDA server for one machine: API v1 on loopback, with exact books of who asked for what.

It answers as a real panda-server 1.0.3 does, down to its quirks, and it is an oracle: it counts what the client
under test did (jobs handed out, final reports, double reports) and can be told to fail. It shares no code with the
rest of hpcharvest, for an oracle that uses the codec under test proves nothing.

`server` starts it (in a thread or as a process), `jobs` makes job dictionaries, `books` keeps the account.
"""

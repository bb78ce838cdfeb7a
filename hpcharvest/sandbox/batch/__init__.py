"""A batch system in small: virtual nodes on this host, real processes, one spool folder for each cluster.

It is a program of its own (`python -m hpcharvest.sandbox.batch`) and shares no code with what it tests. Its jobs
outlive whoever submitted them, and the daemon too: a daemon that comes back adopts what it finds running.
"""

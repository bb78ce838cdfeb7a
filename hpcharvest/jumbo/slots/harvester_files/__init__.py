"""Payloads that ask and tell through panda-harvester's shared files."""

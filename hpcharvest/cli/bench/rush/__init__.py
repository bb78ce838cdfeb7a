"""A head and nodes that do nothing but rush through event ranges: real desk, real sockets, real files."""

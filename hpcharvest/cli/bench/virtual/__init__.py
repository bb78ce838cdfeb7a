"""A small world on virtual time for the real desk and the real agents: links, slots and storage of their own."""

"""How files move: one interface, chosen by the scheme of the URL."""

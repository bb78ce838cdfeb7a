"""The database: what must survive. The only package that knows SQL."""

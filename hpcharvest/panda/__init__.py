"""The conversation with the PanDA server. Only `wire` knows PanDA's field names."""

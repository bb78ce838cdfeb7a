"""The conversation with the PanDA server: `client` says what, `transport` how, and only `wire` knows the words."""

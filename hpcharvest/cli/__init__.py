"""People in, exit codes out. Only `output` prints."""

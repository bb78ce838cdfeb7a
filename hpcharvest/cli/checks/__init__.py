"""What `hpcharvest doctor` looks at: small functions, each of which takes the configuration and tells what it finds."""

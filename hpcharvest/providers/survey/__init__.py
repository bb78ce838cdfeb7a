"""Looking around on a machine, and writing down what was seen as a site file."""

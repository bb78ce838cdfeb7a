"""What is free, planned and permitted: the questions for each batch system, and how their answers are read."""

"""Parsl apps: the stages of a job's DAG, and how files move."""

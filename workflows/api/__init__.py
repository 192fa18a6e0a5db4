"""Data only: the graphs that the orchestrator fills in."""

"""The trainer as this deployment's settings have it."""

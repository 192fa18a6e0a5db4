"""Converts the weights of other projects into those that the package holds."""

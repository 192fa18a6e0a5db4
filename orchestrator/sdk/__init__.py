"""Kizy from Python."""

"""Carrying out one claimed job."""

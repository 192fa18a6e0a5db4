"""A Kizy server far away, as a Service."""

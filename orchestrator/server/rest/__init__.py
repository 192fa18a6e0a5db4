"""The REST server: thin handlers over a Service."""

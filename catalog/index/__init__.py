"""What lies on this machine: scanned, read and kept in one index file."""

"""The command `kizy`."""

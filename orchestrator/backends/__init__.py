"""What draws: the Engine protocol and its implementations."""

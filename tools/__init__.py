"""What makes the data that the project ships; not in the wheel, not in the node pack."""

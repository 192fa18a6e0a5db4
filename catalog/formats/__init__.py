"""What a model file or folder is, read from its header and from what lies beside it."""

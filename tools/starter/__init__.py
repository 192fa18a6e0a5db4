"""Training data and training of the starter model, its enlarger and the finder of drawn faces."""

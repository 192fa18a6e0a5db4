"""What was accepted, in which order, and how it is carried out: nothing accepted is lost."""

"""What trains: the built-in engine and kohya's sd-scripts, behind one interface."""

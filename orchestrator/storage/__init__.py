"""Where pictures go, and where those lie that a Plan begins with."""

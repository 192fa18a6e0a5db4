"""One TOML file a family: the one place for its facts."""

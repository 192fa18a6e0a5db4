"""Pictures as arrays: enlarge."""

"""Where chunks come from and where they go."""

"""What every room may use: errors that a user sees, paths, JSON text, cores, suggestions for misspelt names."""

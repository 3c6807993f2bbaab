"""Small helpers that every room may use: paths, JSON text, cores, suggestions for misspelt names."""

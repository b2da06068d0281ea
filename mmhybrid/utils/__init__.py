"""Small torch-free helpers that every room may use."""

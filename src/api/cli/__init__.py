"""The command `trilane`: upload, demo and serve."""

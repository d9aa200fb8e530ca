"""The measuring instrument of the project."""

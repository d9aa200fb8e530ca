"""The measuring instrument of the project; `python -m benchmarks --help`."""

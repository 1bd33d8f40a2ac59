"""Measure mcp-jobs against floors of the same run. See `python -m benchmarks --help`."""

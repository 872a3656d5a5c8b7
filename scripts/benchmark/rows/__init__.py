"""The rows of the benchmark's table."""

"""Measure the gateway side by side with its peers."""

"""Applications that use the package; each runs with `python -m examples.<name>`."""

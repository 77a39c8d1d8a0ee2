"""Comparisons of methods on one pipeline, and their reports: `dymo bench`."""

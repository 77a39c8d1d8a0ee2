"""Comparisons: methods x prompts x seeds x metrics on any pipeline, resumable, with a report."""

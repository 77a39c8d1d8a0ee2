"""What a run leaves behind: images that carry their parameters, sheets, plots, tables and pages."""

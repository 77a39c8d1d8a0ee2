"""What a run leaves behind: pictures that carry their parameters, sheets, plots, tables and pages."""

"""A user study: people compare images of a bench run two by two, without knowing what made them (arXiv 2412.00759, Figure 6)."""

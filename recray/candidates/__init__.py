"""Which titles may enter a slate: sources propose, the union removes duplicates, filters drop with a reason."""

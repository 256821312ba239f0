"""What is known about profiles, titles and moments, as numbers: declared in views, folded from events, vectorized."""

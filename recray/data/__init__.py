"""Data sets: found and read by adapters, judged and stored by `ingest`, cut by `split`, turned into examples."""

"""Fits on Ray Train and searches on Ray Tune: shells around plain fitting functions, which know nothing of Ray."""

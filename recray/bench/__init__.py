"""Measurements of the running application beside what an engineer would write instead of it, on one machine."""

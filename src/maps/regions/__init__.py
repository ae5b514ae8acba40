"""Regions of the brain: a user's atlas or our coarse one, and how much of a map each holds."""

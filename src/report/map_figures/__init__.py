"""Figures of maps: people, groups, regions, cubes for the viewer; the brain stands upright."""

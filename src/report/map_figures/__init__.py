"""Figures of maps: people, groups, regions, the three-plane viewer; the brain stands upright."""

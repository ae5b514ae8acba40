"""The synthetic cohort, which needs no download: people, anatomy, files, and the truth."""

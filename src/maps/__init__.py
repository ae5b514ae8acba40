"""Maps of what a model used, in the brain's space: placed, compared, measured, written."""

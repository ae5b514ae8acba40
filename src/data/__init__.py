"""Processed files -> batches of people.

`loaders` opens a processed folder and refuses leaks; `splits` divides people; `dataset` hands out
slices and volumes; `image_cache` holds every decoded image once; `augment` varies batches.
"""

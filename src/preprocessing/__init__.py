"""Voxels to processed files: read, scale, resample, and write once per scan."""

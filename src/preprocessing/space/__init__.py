"""Where a processed image lies: in the stored scan, in mm, and in the ICBM152 template."""

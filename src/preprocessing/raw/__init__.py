"""Raw scans -> standard scans: the brain alone, upright, in template space, and its quality."""

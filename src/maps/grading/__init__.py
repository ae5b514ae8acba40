"""Whether maps can be trusted: what they do when weights, labels, images or places change."""

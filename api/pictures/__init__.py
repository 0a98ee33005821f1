"""Vector tiles of labels and pictures of rasters, at a pin."""

"""Where on Earth an image lies, what its values mean, and the conventions by which readers find out."""

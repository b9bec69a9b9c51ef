"""Record types and the files that hold them."""

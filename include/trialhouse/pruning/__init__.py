"""Making networks smaller: which weights matter least, and removing or masking them."""

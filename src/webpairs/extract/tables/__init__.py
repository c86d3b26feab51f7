"""Tables of URLs and texts, read into candidates."""

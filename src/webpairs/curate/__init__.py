"""Steps over a dataset that is built: each adds column files beside the metadata."""

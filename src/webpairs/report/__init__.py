"""What is in a dataset, in one page and one file of numbers; only reads."""

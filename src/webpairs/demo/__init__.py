"""A little web whose ground truth is known, and its crawl files."""

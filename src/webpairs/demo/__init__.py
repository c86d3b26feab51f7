"""Draw a little web with a known truth, and make crawl files of it."""

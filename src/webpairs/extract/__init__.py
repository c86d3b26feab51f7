"""Finding candidates in crawl files: image URLs with a text beside them."""

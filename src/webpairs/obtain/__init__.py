"""Getting the bytes of images: from archives today, from the live web next."""

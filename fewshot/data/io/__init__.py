"""Reading files: archives, images, pickles; the cache of decoded images; downloads."""

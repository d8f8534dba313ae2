"""Archives, images, pickles, downloads, and the cache of decoded images."""

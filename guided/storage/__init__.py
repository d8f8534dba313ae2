"""Files of our own: written whole or not at all, with checksums, swept after a crash."""

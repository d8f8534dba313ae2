"""Readers of files from anyone: sizes and kinds are checked before anything is built."""

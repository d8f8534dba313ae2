"""One module a command: its configuration, and what it prints."""

"""Studies: many encoders and learners, compared on the same test data."""

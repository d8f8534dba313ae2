"""Learners that adapt to an episode by gradient steps."""

"""Scores of a study's encoders against the ground-truth factors of its images."""

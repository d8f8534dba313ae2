"""Shorter pages, of what a single command made: an encoder, a learner, an evaluation.

Several runs of one command stand side by side.
"""

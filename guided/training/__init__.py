"""Pretraining: configuration, data, the step, the loop, its resumable state and its log."""

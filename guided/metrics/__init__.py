"""Measures of what latents hold: functions of plain arrays."""

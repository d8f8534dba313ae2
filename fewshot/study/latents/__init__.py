"""What latents are worth: a linear classifier and the quality of samples."""

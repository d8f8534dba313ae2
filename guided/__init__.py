"""Guided-VAE encoders: images in, encoder checkpoint out."""

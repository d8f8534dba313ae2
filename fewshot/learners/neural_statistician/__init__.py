"""The Neural Statistician, plain or guided."""

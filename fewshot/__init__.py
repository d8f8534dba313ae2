"""Few-shot learning on (guided) VAE encoders: episodes, learners, evaluation and the study."""

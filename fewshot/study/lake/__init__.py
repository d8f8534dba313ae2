"""Lake's one-shot classification task, by the encoders and learners of a study."""

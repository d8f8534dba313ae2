"""Selection without labels: scores of a study's encoders beside what they are worth."""

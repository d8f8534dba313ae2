"""Embeddings of whatever made them, in few-shot episodes: embeddings.py [EPISODES]."""

import sys

import numpy as np

import fewshot
from fewshot.learners import Prototypical, Ridge

episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 500

# Stand-ins for features of your own: the ink in each of 7 × 7 fields of a drawing, [N, 49], and a
# name for each row.
glyphs = fewshot.data.Glyphs("data", n_alphabets=8, validation_alphabets=1, test_alphabets=2)
drawings = glyphs.splits().test
fields = drawings.images.numpy().reshape(len(drawings), 7, 4, 7, 4).mean((2, 4))
features = fields.reshape(len(drawings), -1).astype(np.float32)
names = np.array(drawings.class_names)[drawings.labels]

bank = fewshot.data.EmbeddingBank.from_arrays(features, names)
encoder = bank.plain_encoder()
for learner in (Ridge(encoder), Prototypical(encoder, metric="cosine")):
    result = fewshot.evaluate(learner, bank, n_way=5, n_shot=1, episodes=episodes)
    print(f"{result} ({type(learner).__name__}; chance: 80 %)")

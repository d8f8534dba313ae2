"""Our episodes in a training loop of your own: own_sampler.py [STEPS]."""

import sys

import torch

import fewshot
import guided
from guided.seeds import seeded_initialisation

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
glyphs = fewshot.data.Glyphs("data", n_alphabets=8, validation_alphabets=1, test_alphabets=2)
splits = glyphs.splits()
with seeded_initialisation(0, "example"):
    encoder = guided.Encoder(guided.Conv4(splits.train.image_shape, width=32), None)
learner = fewshot.learners.Ridge(encoder)
optimizer = torch.optim.Adam(learner.parameters(), 1e-3)

setting = fewshot.Setting(n_way=10, n_shot=1, n_query=5)
sampler = fewshot.EpisodeSampler(splits.train, setting, seed=0)
for step in range(steps):
    rows = sampler.batch(4 * step, 4 * step + 4)  # four episodes, whatever ran before
    loss = learner.loss(rows.gather(splits.train.images))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

result = fewshot.evaluate(learner, splits.test, n_way=5, n_shot=1, episodes=500, seed=1)
for pair in result.most_confused(3):
    print(f"{pair.true} is taken for {pair.predicted} in {pair.share:.0f} % of the cases")
print(result)  # chance: 80 %

"""Our episodes in a training loop of your own: own_sampler.py [STEPS]."""

import sys
from pathlib import Path

import torch

from fewshot.data.glyphs.dataset import Glyphs
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.ridge import Ridge
from fewshot.sampler import EpisodeSampler
from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.seeds import seeded_initialisation

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
splits = Glyphs(Path("data"), n_alphabets=8, validation_alphabets=1, test_alphabets=2).splits()
with seeded_initialisation(0, "example"):
    encoder = Encoder(Conv4(splits.train.image_shape, width=32), None)
learner = Ridge(encoder)
optimizer = torch.optim.Adam(learner.parameters(), 1e-3)

sampler = EpisodeSampler(splits.train, Setting(n_way=10, n_shot=1, n_query=5), seed=0)
for step in range(steps):
    rows = sampler.batch(4 * step, 4 * step + 4)  # four episodes, whatever ran before
    loss = learner.loss(rows.gather(splits.train.images))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

sampler = EpisodeSampler(splits.test, Setting(n_way=5, n_shot=1, n_query=15), seed=1)
errors = episode_errors(learner, embed_bank(encoder, splits.test), sampler, 500)
print(f"{errors.mean():.1f} % error")  # chance: 80 %

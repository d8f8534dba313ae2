"""learn2learn draws the tasks, a prototypical network learns: learn2learn_tasks.py [STEPS]."""

import random
import sys
from pathlib import Path

import torch

from fewshot.data.glyphs.dataset import Glyphs
from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.interop import task_dataset
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.seeds import seeded_initialisation

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
splits = Glyphs(Path("data"), n_alphabets=8, validation_alphabets=1, test_alphabets=2).splits()
setting = Setting(n_way=10, n_shot=1, n_query=5)
with seeded_initialisation(0, "example"):
    encoder = Encoder(Conv4(splits.train.image_shape, width=32), None)
learner = Prototypical(encoder)
optimizer = torch.optim.Adam(learner.parameters(), 1e-3)

random.seed(0)  # learn2learn draws from here
tasks = task_dataset(splits.train, setting)
for _ in range(steps):
    images, _labels = tasks.sample()
    # Class after class: the position tells the class, and the labels are not needed.
    classes = images.unflatten(0, (1, setting.n_way, -1))
    loss = learner.loss(Episodes(classes[:, :, : setting.n_shot], classes[:, :, setting.n_shot :]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

sampler = EpisodeSampler(splits.test, Setting(n_way=5, n_shot=1, n_query=15), seed=1)
errors = episode_errors(learner, embed_bank(encoder, splits.test), sampler, 500)
print(f"{errors.mean():.1f} % error")  # chance: 80 %

"""learn2learn draws the tasks, a prototypical network learns: learn2learn_tasks.py [STEPS]."""

import random
import sys

import torch

import fewshot
import guided
from fewshot.interop import task_dataset
from guided.seeds import seeded_initialisation

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
glyphs = fewshot.data.Glyphs("data", n_alphabets=8, validation_alphabets=1, test_alphabets=2)
splits = glyphs.splits()
setting = fewshot.Setting(n_way=10, n_shot=1, n_query=5)
with seeded_initialisation(0, "example"):
    encoder = guided.Encoder(guided.Conv4(splits.train.image_shape, width=32), None)
learner = fewshot.learners.Prototypical(encoder)
optimizer = torch.optim.Adam(learner.parameters(), 1e-3)

random.seed(0)  # learn2learn draws from here
tasks = task_dataset(splits.train, setting)
for _ in range(steps):
    images, _labels = tasks.sample()
    # Class after class: the position tells the class, and the labels are not needed.
    classes = images.unflatten(0, (1, setting.n_way, -1))
    support, query = classes[:, :, : setting.n_shot], classes[:, :, setting.n_shot :]
    loss = learner.loss(fewshot.Episodes(support, query))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(fewshot.evaluate(learner, splits.test, episodes=500, seed=1))  # chance: 80 %

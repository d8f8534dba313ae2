"""learn2learn's MAML, started from a guided encoder: maml_with_guided_encoder.py [STEPS]."""

import sys

import learn2learn as l2l
import torch
import torch.nn.functional as F

import fewshot
import guided
from fewshot.interop import Task, Tasks, classifier

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
glyphs = fewshot.data.Glyphs("data", n_alphabets=8, validation_alphabets=1, test_alphabets=2)
splits = glyphs.splits()
guidance = guided.ExcitationInhibition(attributes={"class": 32}, excitation=100.0)
trained = guided.pretrain(splits.train, splits.validation, guidance=[guidance], steps=steps)
encoder = trained.encoder.eval()  # batch norm is fixed
maml = l2l.algorithms.MAML(classifier(encoder, 5), lr=0.05)
optimizer = torch.optim.Adam(maml.parameters(), 1e-3)


def query_logits(task: Task, first_order: bool = False) -> torch.Tensor:
    learner = maml.clone(first_order=first_order)
    for _ in range(3):
        learner.adapt(F.cross_entropy(learner(task[0]), task[1]))
    return learner(task[2])


setting = fewshot.Setting(n_way=5, n_shot=1, n_query=5)
for task in Tasks(splits.train, setting, seed=0, n_tasks=steps):
    optimizer.zero_grad()
    F.cross_entropy(query_logits(task), task[3]).backward()
    optimizer.step()
tests = Tasks(splits.test, fewshot.Setting(n_way=5, n_shot=1, n_query=15), seed=1, n_tasks=50)
wrong = torch.cat([query_logits(t, first_order=True).argmax(1) != t[3] for t in tests])
print(f"{100 * wrong.float().mean():.1f} % error")  # chance: 80 %

"""Episodes per second of training a prototypical network, against learn2learn's task pipeline.

20-way 1-shot with 15 queries, one episode a step, Conv4-64 (strided), Adam. Ours is
``fewshot.meta_train.meta_train``, one tiny validation included. The peer is the loop of
learn2learn's prototypical example: ``TaskDataset`` with ``NWays``, ``KShots``, ``LoadData``,
``RemapLabels`` and ``ConsecutiveLabels`` over an in-memory dataset of float images, the same
network written in torch's layers, in the default memory layout. All take turns; the rates are
medians of wall-clock time.

Given the same weights and images, both must have the same loss and gradients.

The last line is the ratio of the rates.
"""

import argparse
import warnings

import torch
import torch.nn.functional as F
from _data import add_dataset_argument, load_bank
from _timing import Contender, print_table, rates
from torch import Tensor, nn

from fewshot.data import ImageBank
from fewshot.episodes import Setting
from fewshot.interop import task_dataset
from fewshot.learners.prototypical import Prototypical
from fewshot.meta_train import TrainConfig, meta_train
from fewshot.sampler import EpisodeSampler
from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.malloc import reuse_memory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import learn2learn as l2l

SETTING = Setting(n_way=20, n_shot=1, n_query=15)


def textbook(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(4):
        layers += [
            nn.Conv2d(channels if i == 0 else width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten())


def textbook_loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """learn2learn's example, ``fast_adapt`` of examples/vision/protonet_miniimagenet.py."""
    order = torch.sort(labels, stable=True).indices
    images, labels = images[order], labels[order]
    embeddings = network(images)
    per_class = SETTING.n_shot + SETTING.n_query
    support_indices = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    selection = torch.arange(SETTING.n_way, device=images.device) * per_class
    for offset in range(SETTING.n_shot):
        support_indices[selection + offset] = True
    support = embeddings[support_indices]
    support = support.reshape(SETTING.n_way, SETTING.n_shot, -1).mean(dim=1)
    query = embeddings[~support_indices]
    logits = -((query.unsqueeze(1) - support.unsqueeze(0)) ** 2).sum(dim=2)
    return F.cross_entropy(logits, labels[~support_indices])


def train_textbook(network: nn.Module, tasks: "l2l.data.Taskset", steps: int, device: str) -> None:
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    running_loss = 0.0
    for _ in range(steps):
        images, labels = tasks.sample()
        loss = textbook_loss(network, images.to(device), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item()


def check(encoder: Encoder, network: nn.Module, bank: ImageBank) -> None:
    """The same loss and gradients, in double precision.

    Raises:
        RuntimeError: they are not.
    """
    episode = EpisodeSampler(bank, SETTING, seed=0)[0].gather(bank.images.double() / 255)
    learner, plain = Prototypical(encoder).double().train(), network.double().train()
    ours = learner.loss(episode)
    images = torch.cat([episode.support, episode.query], 2)[0].flatten(0, 1)
    labels = torch.arange(SETTING.n_way).repeat_interleave(SETTING.n_shot + SETTING.n_query)
    theirs = textbook_loss(plain, images, labels)
    ours.backward()
    theirs.backward()
    pairs = zip(learner.parameters(), plain.parameters(), strict=True)
    for a, b in [(ours, theirs), *((p.grad, q.grad) for p, q in pairs)]:
        if not torch.allclose(a, b, rtol=1e-6, atol=1e-9):
            raise RuntimeError(f"ours has {a}, the peer {b}")
    for module in (learner, plain):
        module.float()
        module.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description="Prototypical networks, against learn2learn.")
    add_dataset_argument(parser, fallback="glyphs")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=60, help="of one run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reuse_memory()  # as the command does; the peer has it too
    bank = load_bank(arguments.dataset, "train")
    torch.manual_seed(0)
    encoder = Encoder(Conv4(bank.image_shape, width=arguments.width), None)
    network = textbook(bank.image_shape[0], arguments.width)
    with torch.no_grad():
        for its, mine in zip(network.parameters(), encoder.parameters(), strict=True):
            its.copy_(mine)
    check(encoder, network, bank)
    network.to(arguments.device)
    device, steps = arguments.device, arguments.steps
    config = TrainConfig(
        setting=SETTING,
        steps=steps,
        validate_every=steps,
        validation=Setting(2, 1, 1),
        validation_episodes=1,
        log_every=steps,
    )
    few = (bank.labels < 2).nonzero().flatten()
    small = ImageBank(bank.images[few], bank.labels[few], bank.class_names[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks = task_dataset(bank, SETTING)
    contenders = [
        Contender(
            "learn2learn's tasks", steps, lambda: train_textbook(network, tasks, steps, device)
        ),
        Contender(
            "meta_train",
            steps,
            lambda: meta_train(config, Prototypical, encoder, bank, small, seed=0, device=device),
        ),
    ]
    rate = rates(contenders, arguments.repeats)
    alone = rate["learn2learn's tasks"]
    rows = [(name, per_second, per_second / alone) for name, per_second in rate.items()]
    print_table(("20-way 1-shot, 15 queries", "episodes/s", "ratio"), rows)
    print(f"ratio {rate['meta_train'] / alone:.2f}")


if __name__ == "__main__":
    main()

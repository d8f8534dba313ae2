"""Seconds for 10,000 5-way 1-shot episodes of embeddings, against easyfsl's prototypical networks.

Both are given embeddings of the test classes: 64 latents of an untrained Conv4. For ours, all of
``episode_errors`` is timed: drawing the episodes, gathering their embeddings, classifying
15 queries a class, each episode's error. The peer takes the first 1,000 of the same episodes one
by one, with its own ``evaluate_on_one_task`` and an identity as backbone; gathering is timed too,
drawing is not. One thread, taking turns, medians of processor time.

Both must predict the same class for each of those 75,000 queries (in double precision, where
rounding decides nothing). The last line is the ratio of episodes a second, both Prototypical with
squared Euclidean distance.
"""

import argparse
from collections.abc import Callable

import torch
from _data import add_dataset_argument, load_bank
from _timing import Contender, print_table, rates
from easyfsl.methods import PrototypicalNetworks
from easyfsl.utils import evaluate_on_one_task
from torch import Tensor

from fewshot.episodes import Episodes, Setting
from fewshot.evaluation import embed_bank, episode_errors
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.ridge import Ridge
from fewshot.sampler import EpisodeSampler
from guided.malloc import reuse_memory
from guided.training.config import PretrainConfig
from guided.training.data import LabelledImages
from guided.training.pretrain import build_model

OURS, PEER = 10_000, 1_000  # episodes in one run


def peer(rows: Episodes, embeddings: Tensor) -> Callable[[], int]:
    """The loop of easyfsl's ``evaluate``; the function that it makes counts correct queries."""
    model = PrototypicalNetworks().eval()
    labels = torch.arange(rows.n_way)
    support_labels = labels.repeat_interleave(rows.n_shot)
    query_labels = labels.repeat_interleave(rows.n_query)

    @torch.no_grad()
    def run() -> int:
        correct = 0
        for support, query in zip(rows.support.flatten(1), rows.query.flatten(1), strict=True):
            correct += evaluate_on_one_task(
                model,
                embeddings.index_select(0, support),
                support_labels,
                embeddings.index_select(0, query),
                query_labels,
            )[0]
        return correct

    return run


@torch.no_grad()
def check(learner: Prototypical, rows: Episodes, embeddings: Tensor) -> None:
    """Ours and the peer predict the same classes.

    Raises:
        RuntimeError: they do not.
    """
    episodes = rows.gather(embeddings.double())
    model = PrototypicalNetworks().eval()
    labels = torch.arange(rows.n_way).repeat_interleave(rows.n_shot)
    for i, ours in enumerate(learner.logits(episodes).argmax(2)):
        model.process_support_set(episodes.support[i].flatten(0, 1), labels)
        theirs = model(episodes.query[i].flatten(0, 1)).argmax(1)
        if not torch.equal(ours, theirs):
            raise RuntimeError(f"episode {i}: ours predicts {ours}, easyfsl {theirs}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluation, against easyfsl's.")
    add_dataset_argument(parser, fallback="glyphs")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory()  # as the command does; the peer has it too
    bank = load_bank(arguments.dataset, "test")
    encoder = build_model(PretrainConfig(), LabelledImages(bank.images), seed=0).vae.encoder
    embeddings = embed_bank(encoder, bank)
    learners = {
        "Prototypical": Prototypical(encoder),
        "Prototypical, cosine": Prototypical(encoder, metric="cosine"),
        "Ridge": Ridge(encoder),
    }
    sampler = EpisodeSampler(bank, Setting(n_way=5, n_shot=1, n_query=15), seed=0)
    rows = sampler.batch(0, PEER)
    check(learners["Prototypical"], rows, embeddings)

    def ours(name: str) -> Contender:
        learner = learners[name]
        return Contender(name, OURS, lambda: episode_errors(learner, embeddings, sampler, OURS))

    easyfsl = Contender("easyfsl's PrototypicalNetworks", PEER, peer(rows, embeddings))
    rate = rates([*map(ours, learners), easyfsl], arguments.repeats, processor_time=True)
    print_table(
        ("5-way 1-shot, 15 queries", f"s for {OURS:,} episodes", "episodes a second"),
        [(name, OURS / value, value) for name, value in rate.items()],
    )
    print(f"ratio {rate['Prototypical'] / rate[easyfsl.name]:.1f}")


if __name__ == "__main__":
    main()

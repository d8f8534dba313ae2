"""The Neural Statistician, plain or guided: a class is a distribution of contexts."""

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.episodes import Episodes
from fewshot.learners.base import BatchNormPolicy, Learner
from fewshot.learners.neural_statistician.set_vae import SetVAE, pairwise_divergence
from guided.encoder import Encoder
from guided.errors import InputError
from guided.guidance.adversary import divergence_from_uniform, frozen_logits
from guided.ranges import Count, NonNegative, Range, Whole
from guided.seeds import generator
from guided.vae import Posterior


class NeuralStatistician(Learner):
    """Gives a query to the class whose context is closest to its own.

    Source: Edwards & Storkey (2017), arXiv:1606.02185: the model (:class:`SetVAE`); sample dropout,
    so that a single image has a context too (§4); classes are compared by
    KL(q(c | D_class) ‖ q(c | x)) (algorithm 3). Meta-training maximises the ELBO: the images of
    each class of an episode, support and queries, form one set. Without guidance, the only use of
    labels is to form these sets.

    Guidance acts on the output of the statistic network (Guided-VAE, Ding et al. 2020, §4.4).
    *Excitation*: a linear classifier predicts the training class from the first ``excited``
    dimensions of the context. *Inhibition*: an adversary predicts it from the other dimensions,
    and the statistic network drives its prediction to uniform. *Mixup* (Zhang et al. 2018,
    arXiv:1710.09412): the classifier is trained on mixed contexts and mixed labels. Supervision
    without guidance is excitation of the whole context: ``excited: 0``, ``inhibition: 0``,
    ``mixup: 0``.

    The reconstruction has weight 1 + α and the KL terms 1 / (1 + α); α starts at 1 and decays (§4).

    Args:
        encoder: images ``[B, C, H, W]`` to features ``[B, out_dim]``, usually with
            ``latents: [features]``; its backbone makes the decoder.
        context_dim: width of the context c.
        latent_dim: width of the latent z of an image, in each layer.
        latent_layers: stochastic layers of z.
        hidden: width of the hidden layers.
        sample_dropout: probability in [0, 1) that the statistic network does not see an image of
            a training set; it always sees at least one.
        halve_alpha_every: steps after which α is halved, repeatedly (an epoch in the paper).
        n_classes: classes that the classifier and the adversary predict; at least as many as
            there are training classes.
        excitation: weight of the classifier's cross-entropy in nats per set; 0: no excitation.
        excited: dimensions of the context that the classifier reads; 0: all.
        inhibition: weight of the divergence of the adversary's prediction from uniform; 0: no
            inhibition.
        mixup: parameter of the Beta distribution of the mixing weights; 0: no mixup.
        compare: dimensions of the context that classify queries: ``all`` or ``excited``.
        batch_norm: where batch norm takes its statistics; see :class:`Learner`.

    Raises:
        InputError: a setting is out of range, or guidance lacks ``n_classes``.
    """

    needs_training = True
    needs_images = True

    steps: Tensor
    noise_seed: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        context_dim: Count = 64,
        latent_dim: Count = 16,
        latent_layers: Count = 1,
        hidden: Count = 256,
        sample_dropout: Annotated[float, Range(0, below=1)] = 0.5,
        halve_alpha_every: Count = 1000,
        n_classes: Whole = 0,
        excitation: NonNegative = 0.0,
        excited: Whole = 0,
        inhibition: NonNegative = 0.0,
        mixup: NonNegative = 0.0,
        compare: Literal["all", "excited"] = "all",
        batch_norm: BatchNormPolicy = "frozen",
    ) -> None:
        super().__init__(encoder, batch_norm)
        sizes = {"context_dim": context_dim, "latent_dim": latent_dim, "hidden": hidden}
        if (excited or context_dim) > context_dim - bool(inhibition):
            raise InputError(
                f"NeuralStatistician.excited: {excited or 'all'} of context_dim {context_dim}; "
                "inhibition needs others"
            )
        if (excitation or inhibition) and n_classes < 2:
            raise InputError(
                "NeuralStatistician.n_classes: guidance needs the number of training classes"
            )
        if compare == "excited" and not excitation:
            raise InputError("NeuralStatistician.compare: 'excited' needs excitation > 0")
        self.model = SetVAE(encoder, **sizes, latent_layers=latent_layers)
        self.sample_dropout, self.mixup = sample_dropout, mixup
        self.halve_alpha_every = halve_alpha_every
        self.excitation, self.inhibition = excitation, inhibition
        self.excited = excited or context_dim
        self.compared = self.excited if compare == "excited" else context_dim
        # Saved with the weights: the noise of step t is a function of (seed, t).
        self.register_buffer("noise_seed", torch.randint(2**31, ()))
        self.register_buffer("steps", torch.tensor(0))
        self.n_classes = n_classes if excitation or inhibition else None
        if excitation:
            self.classifier = nn.Linear(self.excited, n_classes)
        if inhibition:
            self.adversary = nn.Sequential(
                nn.Linear(context_dim - self.excited, hidden),
                nn.LeakyReLU(0.2),
                nn.Linear(hidden, n_classes),
            )

    def logits(self, episodes: Episodes) -> Tensor:
        embedded = self.embed(episodes)
        classes = self.model.context(embedded.support)
        queries = self.model.context(embedded.query.flatten(1, 2).unsqueeze(2))
        return -pairwise_divergence(self._compared(classes), self._compared(queries))

    def _compared(self, contexts: Posterior) -> Posterior:
        return Posterior(contexts.mean[..., : self.compared], contexts.logvar[..., : self.compared])

    def loss(self, episodes: Episodes) -> Tensor:
        """Negative ELBO with the classes of the episodes as sets, plus guidance, a scalar."""
        terms = self.terms(episodes)
        alpha = 0.5 ** (int(self.steps) / self.halve_alpha_every)
        weights = {
            "reconstruction": 1 + alpha,
            "kl_latent": 1 / (1 + alpha),
            "kl_context": 1 / (1 + alpha),
            "excitation": self.excitation,
            "inhibition": self.inhibition,
            "adversary": 1.0,
        }
        if self.training:
            self.steps += 1
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def terms(self, episodes: Episodes) -> dict[str, Tensor]:
        """The unweighted terms of the loss by name, scalars in nats; with the noise of this step.

        Args:
            episodes: episodes of images ``[C, H, W]``; with ``classes`` if there is guidance.

        Raises:
            InputError: the episodes hold embeddings, or lack the classes that guidance needs.
        """
        images = _sets(episodes)
        if images.ndim != 5:
            raise InputError(
                "NeuralStatistician: meta-training needs images; set freeze_encoder to false"
            )
        noise = generator(
            int(self.noise_seed), "neural statistician", int(self.steps), device=images.device
        )
        features = _sets(self.embed(episodes))
        kept = _kept(images.shape[:2], self.sample_dropout, noise)
        read = self.encoder.normalised(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        found = self.model.terms(read, features, kept, noise)
        terms = {
            "reconstruction": found.reconstruction,
            "kl_latent": found.kl_latent,
            "kl_context": found.kl_context,
        }
        if self.n_classes is None:
            return terms
        if episodes.classes is None:
            raise InputError(
                "NeuralStatistician: guidance needs episodes that name their classes; unset tasks"
            )
        return terms | self._guidance(found.context, episodes.classes.flatten(), noise)

    def _guidance(
        self, context: Tensor, classes: Tensor, noise: torch.Generator
    ) -> dict[str, Tensor]:
        terms = {}
        inside, others = context[:, : self.excited], context[:, self.excited :]
        if self.excitation:
            terms["excitation"] = self._excitation(inside, classes, noise)
        if self.inhibition:
            # This term trains the statistic network, never the adversary …
            terms["inhibition"] = divergence_from_uniform(frozen_logits(self.adversary, others))
            # … and this one trains only the adversary.
            terms["adversary"] = F.cross_entropy(self.adversary(others.detach()), classes)
        return terms

    def _excitation(self, inside: Tensor, classes: Tensor, noise: torch.Generator) -> Tensor:
        if not self.mixup:
            return F.cross_entropy(self.classifier(inside), classes)
        share = _beta(self.mixup, len(inside), noise)
        partner = torch.randperm(len(inside), generator=noise, device=inside.device)
        mixed = torch.lerp(inside[partner], inside, share.unsqueeze(1))
        one_hot = F.one_hot(classes, self.classifier.out_features).to(inside.dtype)
        target = torch.lerp(one_hot[partner], one_hot, share.unsqueeze(1))
        return F.cross_entropy(self.classifier(mixed), target)


def _sets(episodes: Episodes) -> Tensor:
    """Support and queries of each class as sets, ``[E * n_way, n_shot + n_query, …]``."""
    return torch.cat([episodes.support, episodes.query], 2).flatten(0, 1)


def _kept(shape: torch.Size, dropout: float, noise: torch.Generator) -> Tensor:
    """Mask ``[S, n]`` of the images that the statistic network sees; at least one of a set."""
    chance = torch.rand(shape, generator=noise, device=noise.device)
    return (chance >= dropout) | (chance == chance.amax(1, keepdim=True))


def _beta(parameter: float, n: int, noise: torch.Generator) -> Tensor:
    """Draws from Beta(parameter, parameter), ``[n]``."""
    # numpy's, because torch's takes no generator.
    seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
    share = np.random.default_rng(seed).beta(parameter, parameter, n)
    return torch.from_numpy(share).to(noise.device, torch.get_default_dtype())

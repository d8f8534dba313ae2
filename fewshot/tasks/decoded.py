"""Tasks that the VAE decodes: one content under many deformations."""

import torch

from fewshot.episodes import Episodes
from fewshot.sampler import distinct_rows
from fewshot.tasks.base import TaskContext, TaskSource, embedded, joined
from guided.errors import InputError
from guided.latents import DEFORMATION
from guided.ranges import NonNegative
from guided.seeds import generator


class DecodedTasks(TaskSource):
    """Decodes the latents of n_way images with other deformation latents and added noise.

    Source: LASIUM (Khodadadeh et al. 2021, arXiv:2006.09559, §3), which adds noise to all latents.
    In a guided VAE some latents are known to deform: they are replaced by those of other images
    (and so follow the aggregate posterior), and noise is added to the other latents.

    Args:
        context: build-time context, with the decoder of the VAE.
        noise: standard deviation of the noise, in units of the latent's own standard deviation
            over the training images; at least 0.
        deform: replace deformation latents; a layout without any leaves only the noise.
        original_support: use the original image as the support, instead of decoded ones.

    Raises:
        InputError: there is no decoder.
    """

    needs_decoder = True

    def __init__(
        self,
        context: TaskContext,
        *,
        noise: NonNegative = 0.5,
        deform: bool = True,
        original_support: bool = False,
    ) -> None:
        layout = context.encoder.layout
        if context.decoder is None or layout is None:
            raise InputError("DecodedTasks: needs a pretrained VAE's encoder and its decoder")
        self.context, self.original_support = context, original_support
        self.decoder = context.decoder.to(context.device).eval()
        self.codes = embedded(context).to(context.device)
        self.images = context.images.to(context.device)
        names = layout.with_role(DEFORMATION) if deform else []
        self.deforming = torch.tensor(
            layout.indices(*names) if names else [], dtype=torch.int64, device=context.device
        )
        self.spread = noise * self.codes.std(0)
        self.spread[self.deforming] = 0

    def episodes(self, start: int, stop: int) -> Episodes:
        setting = self.context.setting
        rows = distinct_rows(self.context.seed, start, stop, setting.n_way, len(self.images))
        return joined(
            [self._episode(start + i, of_one) for i, of_one in enumerate(torch.from_numpy(rows))]
        )

    @torch.no_grad()
    def _episode(self, number: int, rows: torch.Tensor) -> Episodes:
        setting, device = self.context.setting, self.context.device
        chance = generator(self.context.seed, "decoded tasks", number, device=device)
        n_copies = setting.n_shot + setting.n_query
        rows = rows.to(device)
        codes = self.codes[rows].repeat_interleave(n_copies, 0)
        donors = torch.randint(len(self.codes), (len(codes),), generator=chance, device=device)
        codes[:, self.deforming] = self.codes[donors][:, self.deforming]
        codes += self.spread * torch.randn(codes.shape, generator=chance, device=device)
        decoded = self.decoder(codes).clamp(0, 1).unflatten(0, (1, setting.n_way, n_copies))
        support, query = decoded[:, :, : setting.n_shot], decoded[:, :, setting.n_shot :]
        if self.original_support:
            originals = self.images[rows].float() / 255
            support = originals[None, :, None].expand_as(support)
        return Episodes(support, query)

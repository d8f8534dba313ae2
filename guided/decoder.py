"""Decoders, each in a file of its own beside its encoder's."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from guided import likelihoods
from guided.encoder import Encoder
from guided.errors import InputError, blaming
from guided.likelihoods import Likelihood
from guided.naming import class_of, name_of
from guided.readers.encoder_file import check_weights
from guided.seeds import generator
from guided.storage.checksums import DamageError
from guided.storage.files import read_weights, write_weights
from guided.vae import VAE

FORMAT = "guided-fewshot decoder 1"


class Decoder(nn.Module):
    """Latents ``[B, latent_dim]`` to the expected images ``[B, C, H, W]``.

    Args:
        network: latents to the likelihood's parameters.
        likelihood: p(x|z).
        latent_dim: latents that the network takes.
    """

    def __init__(self, network: nn.Module, likelihood: Likelihood, latent_dim: int) -> None:
        super().__init__()
        self.network, self.likelihood, self.latent_dim = network, likelihood, latent_dim

    @staticmethod
    def from_vae(vae: VAE) -> "Decoder":
        """A VAE's decoder; the weights are shared."""
        return Decoder(vae.decoder, vae.likelihood, vae.layout.latent_dim)

    def forward(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.network(z))

    @torch.no_grad()
    def sample(self, n: int, *, seed: int = 0, batch_size: int = 1000) -> Tensor:
        """Images decoded from draws of the prior N(0, 1), in [0, 1], ``[n, C, H, W]``.

        Args:
            n: number of images; the first ones do not depend on it.
            seed: of the draws.
            batch_size: images at a time.
        """
        # Drawn on the CPU: the same codes on every device.
        codes = torch.randn(n, self.latent_dim, generator=generator(seed, "prior samples"))
        codes = codes.to(next(self.network.parameters()).device)
        return torch.cat([self(z).clamp(0, 1) for z in codes.split(batch_size)])

    def save(self, path: Path) -> None:
        """Write weights and the likelihood's name, atomically."""
        kind = json.dumps(name_of(type(self.likelihood), likelihoods))
        write_weights(path, self.state_dict(), {"format": FORMAT, "likelihood": kind})

    @staticmethod
    def load(path: Path, encoder: Encoder) -> "Decoder":
        """Read a file that :meth:`save` wrote; in evaluation mode, on the CPU.

        Args:
            path: the file.
            encoder: of the same VAE; its backbone makes the network.

        Raises:
            InputError: the file is missing, damaged, or another VAE's.
        """
        from safetensors import SafetensorError

        if encoder.layout is None:
            raise InputError(f"{path}: an encoder without latents has no decoder")
        latent_dim = encoder.layout.latent_dim
        try:
            weights, metadata = read_weights(path)
            if metadata.get("format") != FORMAT:
                raise InputError(f"is not a decoder's file ({FORMAT!r})")
            kind = json.loads(metadata["likelihood"])
            if not isinstance(kind, str):
                raise InputError("likelihood: expected a name")
            likelihood = class_of(kind, likelihoods, Likelihood)()
            decoder = Decoder(encoder.backbone.decoder(latent_dim), likelihood, latent_dim)
            with blaming("damaged, or another VAE's"):
                check_weights(weights, decoder)
            decoder.load_state_dict(weights)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; pretrain the encoder again") from error
        except DamageError:
            raise
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (SafetensorError, OSError, LookupError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: damaged, or another VAE's ({reason[:120]})") from error
        return decoder.eval()

"""The other half of a VAE in a file of its own, beside its encoder's."""

import json
from pathlib import Path

from torch import Tensor, nn

from guided.encoder import Encoder
from guided.errors import InputError
from guided.files import write_bytes
from guided.likelihoods import Likelihood
from guided.vae import VAE

FORMAT = "guided-fewshot decoder 1"


class Decoder(nn.Module):
    """Latents ``[B, latent_dim]`` to the expected images ``[B, C, H, W]``."""

    def __init__(self, network: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.network, self.likelihood = network, likelihood

    @staticmethod
    def of(vae: VAE) -> "Decoder":
        """A VAE's decoder; the weights are shared."""
        return Decoder(vae.decoder, vae.likelihood)

    def forward(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.network(z))

    def save(self, path: Path) -> None:
        """Write weights and the likelihood's name, atomically."""
        from safetensors.torch import save

        weights = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        kind = json.dumps(type(self.likelihood).__name__)
        write_bytes(path, save(weights, {"format": FORMAT, "likelihood": kind}))

    @staticmethod
    def load(path: Path, encoder: Encoder) -> "Decoder":
        """Read what :meth:`save` wrote; in evaluation mode, on the CPU.

        Args:
            path: the file.
            encoder: of the same VAE; its backbone makes the network.

        Raises:
            InputError: the file is missing, damaged, or another VAE's.
        """
        from safetensors import SafetensorError, safe_open

        if encoder.layout is None:
            raise InputError(f"{path}: an encoder without latents has no decoder")
        known = {cls.__name__: cls for cls in Likelihood.__subclasses__()}
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise InputError(f"{path}: is not a decoder's file ({FORMAT!r})")
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            network = encoder.backbone.decoder(encoder.layout.latent_dim)
            decoder = Decoder(network, known[json.loads(metadata["likelihood"])]())
            decoder.load_state_dict(weights)
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; pretrain the encoder again") from error
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: damaged, or another VAE's ({reason[:120]})") from error
        return decoder.eval()

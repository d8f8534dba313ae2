"""Networks from elsewhere: their features, their weights, their files, their refusals."""

import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from guided import Encoder, Imported, InputError, Timm, Torchvision
from guided.backbones.batch_norm import group_statistics
from guided.backbones.foreign.weights import UnusedWeightsWarning
from guided.seeds import seeded_initialisation

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

MODULE = '''
from torch import nn


class Net(nn.Module):
    """A convolution, batch norm, pooling and a classifier."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, classes)

    def forward(self, images):
        return self.fc(self.body(images).mean((2, 3)))


class Maps(Net):
    """The same without its end."""

    def forward(self, images):
        return self.body(images)


class Pair(Net):
    """Answers twice."""

    def forward(self, images):
        return images, images


def build():
    return Net()
'''


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """torchvision's resnet18 of random weights and statistics, and its state dict in a file."""
    with seeded_initialisation(0, "test"):
        network = torchvision.models.resnet18(weights=None).train()
        with torch.no_grad():
            network(torch.rand(8, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """The module ``foreign_net`` beside the working directory's files."""
    (tmp_path / "foreign_net.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import foreign_net

    yield foreign_net
    sys.modules.pop("foreign_net")


def penultimate(network, images):
    """What resnet18's last layer reads, of images in [0, 1] ``[B, 3, H, W]``."""
    read = []
    hook = network.fc.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        network((images - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
    hook.remove()
    return read[0]


def test_features_are_what_the_last_layer_reads(resnet, tmp_path):
    """From either kind of file, and again from the encoder's own."""
    network, path = resnet
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = penultimate(network, images / 255)
    for file in (str(path), tmp_path / "resnet18.safetensors"):
        made = Torchvision((3, 32, 32), model="resnet18", weights=file, size=None)
        encoder = Encoder(made, None).eval()
        with torch.no_grad():
            torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.out_dim == 512
    encoder.save(tmp_path / "encoder.safetensors")
    again = Encoder.load(tmp_path / "encoder.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images), encoder(images))
    assert again.description() == encoder.description()


def test_grey_images_are_repeated_and_resized_by_declaration(resnet):
    network, path = resnet
    grey = torch.rand(2, 1, 16, 16)
    made = Torchvision((1, 16, 16), model="resnet18", weights=path, size=32, channels=3).eval()
    large = nn.functional.interpolate(grey, (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = penultimate(network, large.expand(-1, 3, -1, -1))
        torch.testing.assert_close(made(grey), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"channels: resnet18 reads colour.*channels: 3 repeats"):
        Torchvision((1, 16, 16), model="resnet18", weights=path)


def test_random_weights_are_a_function_of_the_seed():
    def weights(seed):
        with seeded_initialisation(seed, "test"):
            made = Torchvision((3, 32, 32), model="mobilenet_v3_small", weights="random", size=32)
        return made.state_dict()["network.features.0.0.weight"]

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_resnet_s_weights_under_a_prefix(resnet, tmp_path):
    """Its blocks hold weights of the first one's name."""
    network, path = resnet
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "parallel.pth")
    plain, parallel = (
        Torchvision((3, 32, 32), model="resnet18", weights=str(file)).state_dict()
        for file in (path, tmp_path / "parallel.pth")
    )
    assert all(torch.equal(plain[name], parallel[name]) for name in plain)


def test_weights_inside_a_checkpoint_under_a_prefix(foreign):
    """As ``DataParallel`` in a training's checkpoint leaves them; a head of another width."""
    net = foreign.Net(classes=7)
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, "checkpoint.pt")
    images = torch.rand(2, 1, 9, 9)
    made = Imported(
        (1, 9, 9), network="foreign_net.Net", weights=Path("checkpoint.pt"), mean=[0.5], std=[2]
    ).eval()
    with torch.no_grad():
        expected = net.eval().body((images - 0.5) / 2).mean((2, 3))
    torch.testing.assert_close(made(images), expected)


@pytest.mark.parametrize(("network", "head"), [("Net", "fc"), ("Net", "none"), ("Maps", "auto")])
def test_any_module_is_saved_and_loaded(foreign, tmp_path, network, head):
    """Maps are averaged over places; ``none`` keeps the last layer."""
    made = Imported(
        (1, 9, 9),
        network=f"foreign_net.{network}",
        arguments={"width": 6},
        weights="random",
        mean=[0],
        std=[1],
        head=head,
    )
    assert made.feature_dim == (3 if head == "none" else 6)
    encoder, images = Encoder(made, None).eval(), torch.rand(2, 1, 9, 9)
    encoder.save(tmp_path / "encoder.safetensors")
    assert torch.equal(Encoder.load(tmp_path / "encoder.safetensors")(images), encoder(images))
    sys.modules.pop("foreign_net")
    with pytest.raises(InputError, match=r"foreign_net.* is not imported.*--imports"):
        Encoder.load(tmp_path / "encoder.safetensors")
    sys.modules["foreign_net"] = foreign


def test_batch_norm_takes_the_policies_of_learners(foreign):
    made = Imported(
        (1, 9, 9), network="foreign_net.Net", weights="random", mean=[0], std=[1]
    ).eval()
    images = torch.rand(6, 1, 9, 9)
    with group_statistics(2), torch.no_grad():
        both = made(images)
        one = made(torch.cat([images[:3], torch.rand(3, 1, 9, 9)]))
    assert torch.equal(both[:3], one[:3])
    assert not torch.allclose(made(images), both)


def test_what_cannot_be_is_refused(resnet, foreign):
    path, shape = resnet[1], (3, 32, 32)
    usual = {"weights": "random", "mean": [0], "std": [1]}
    torch.save(foreign.Net(), "whole.pt")
    torch.save({"step": 1}, "empty.pt")
    Path("text.pt").write_text("no weights")
    wider = {"network": "foreign_net.Net", "arguments": {"width": 8}, "mean": [0], "std": [1]}
    torch.save(foreign.Net().state_dict(), "narrow.pt")
    cases = [
        (
            Torchvision,
            {"model": "resnt18", "weights": path},
            "no model is called 'resnt18'; resnet",
        ),
        (
            Torchvision,
            {"model": "resnet34", "weights": path},
            r"lacks layer1.2.conv1.weight, .* of",
        ),
        (Torchvision, {"model": "resnet18", "weights": Path("x.pth")}, "x.pth: no such file"),
        (Torchvision, {"model": "resnet18", "weights": path, "head": "f"}, r"head: .*avgpool, fc"),
        (Torchvision, {"model": "squeezenet1_0", "weights": "random"}, "not end in a linear layer"),
        (Torchvision, {"model": "resnet18", "weights": path, "std": [0]}, r"std.0: expected > 0"),
        (
            Torchvision,
            {"model": "resnet18", "weights": path, "mean": [0, 0]},
            r"mean: expected one",
        ),
        (Torchvision, {"model": "resnet18", "weights": path, "size": 0}, "size: expected at least"),
        (Torchvision, {"model": "resnet18", "weights": path, "size": 9999}, "size: .*at most 4096"),
        (Imported, {"network": "nowhere.Net", **usual}, "no module is called 'nowhere'"),
        (Imported, {"network": "foreign_net.build", **usual}, r"no class of torch.nn.Module"),
        (Imported, {"network": "foreign_net.Pair", "channels": 3, **usual}, r"head: .*got tuple"),
        (Imported, {"network": "foreign_net.Net", **usual}, r"cannot read images of \[3, 32, 32\]"),
        (
            Imported,
            {**usual, "network": "foreign_net.Net", "arguments": {"x": 1}},
            "arguments: Net",
        ),
    ]
    for kind, settings, message in cases:
        with pytest.raises(InputError, match=message):
            kind(shape, **settings)
    for file, message in [
        ("whole.pt", r"whole.pt: holds more than weights.*model.state_dict\(\)"),
        ("empty.pt", r"empty.pt: expected a state dict"),
        ("text.pt", r"text.pt: cannot be read as weights"),
        ("narrow.pt", r"narrow.pt: body.0.weight has shape \[4, .*expects \[8"),
    ]:
        with pytest.raises(InputError, match=message):
            Imported((1, 9, 9), weights=Path(file), **wider)


def test_weights_without_a_place_are_named(foreign):
    torch.save(foreign.Net().state_dict() | {"projector.weight": torch.ones(2)}, "more.pt")
    with pytest.warns(UnusedWeightsWarning, match=r"projector.weight have no place in Net"):
        Imported((1, 9, 9), network="foreign_net.Net", weights=Path("more.pt"), mean=[0], std=[1])


def test_a_pytorch_file_is_no_damaged_encoder(resnet, tmp_path):
    network, path = resnet
    with pytest.raises(
        InputError, match=r"is a PyTorch file.*class_path: Torchvision.*resnet18.pth"
    ):
        Encoder.load(path)
    torch.save(network.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="is a PyTorch file"):
        Encoder.load(tmp_path / "old.pth")
    save_file(network.state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(InputError, match=r"not an encoder checkpoint.*class_path: Torchvision"):
        Encoder.load(tmp_path / "resnet.safetensors")


def test_without_timm_the_refusal_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm is not installed; pip install .*\[timm\]"):
        Timm((3, 32, 32), model="resnet10t", weights="random")


def test_timm_s_networks():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    made = Timm((1, 32, 32), model="resnet10t", weights="random", channels=3, size=32).eval()
    net = timm.create_model("resnet10t", pretrained=False).eval()
    names = {f"network.{name}": value for name, value in net.state_dict().items()}
    made.load_state_dict({name: names[name] for name in made.state_dict()})
    images, config = torch.rand(2, 1, 32, 32), net.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = net.forward_head(net.forward_features((images - mean) / std), pre_logits=True)
        torch.testing.assert_close(made(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="no model is called 'hf-hub:x'"):
        Timm((3, 32, 32), model="hf-hub:x", weights="random")

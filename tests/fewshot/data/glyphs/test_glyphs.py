import numpy as np
import pytest
import torch

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.glyphs.factor_bins import with_binned_factors
from fewshot.data.glyphs.handwriting import FACTORS, draw_alphabet, pose
from fewshot.data.glyphs.strokes import MAX_CHARACTERS, N_STROKES, N_TRIES, Alphabet, render
from fewshot.evaluation import evaluate
from fewshot.learners import Prototypical
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.seeds import generator

SMALL = {"n_alphabets": 3, "n_characters": 4, "validation_alphabets": 1, "test_alphabets": 1}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """The first 8 default alphabets: 5 + 1 + 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Glyphs(n_alphabets=8, validation_alphabets=1, test_alphabets=2).splits()


def ink(bank):
    return bank.images[:, 0].float() / 255


def within_classes(values, bank):
    """``[N]`` less the mean of each class."""
    by_class = values.double().view(bank.n_classes, -1)
    return (by_class - by_class.mean(1, keepdim=True)).flatten()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


NEUTRAL = {**dict.fromkeys(FACTORS, 0.0), "scale": 1.0, "thickness": 0.06}


def factors_with(**changed):
    return {name: torch.tensor([value]) for name, value in (NEUTRAL | changed).items()}


def draw(strokes, **changed):
    """One image ``[28, 28]`` of ``[1, s, p, 2]`` with the given factors."""
    placed, factors = pose(strokes, factors_with(**changed))
    return render(28 * placed, 28 * factors["thickness"], 28)[0, 0].float() / 255


# Neither symmetrical nor straight: a 7 with a tail; and a bar. [1, 1, points, 2]
SEVEN = torch.tensor([[[[-0.2, -0.25], [0.2, -0.2], [-0.1, 0.2], [0.05, 0.25]]]])
BAR = torch.tensor([[[[0.0, -0.25], [0.0, 0.25]]]])


def test_a_seed_gives_the_same_bank_and_another_seed_another(cache, monkeypatch):
    first = Glyphs(**SMALL, seed=1).splits().train
    state = torch.manual_seed(123).get_state()  # the global generator must not matter
    monkeypatch.setenv("FEWSHOT_CACHE", str(cache / "other"))
    again = Glyphs(**SMALL, seed=1).splits().train
    assert torch.equal(torch.get_rng_state(), state), "and is left alone"
    other = Glyphs(**SMALL, seed=2).splits().train
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.factors[name], again.factors[name]) for name in FACTORS)
    assert (first.images != other.images).flatten(1).any(1).all()


def test_a_drawing_does_not_depend_on_how_many_others_there_are():
    many, many_factors = draw_alphabet(0, 3, 8, 9, 28)
    few, few_factors = draw_alphabet(0, 3, 5, 4, 28)
    difference = many.view(8, 9, 28, 28)[:5, :4].int() - few.view(5, 4, 28, 28).int()
    assert difference.abs().max() <= 1  # sums may be rounded differently
    for name in FACTORS:
        expected = many_factors[name].view(8, 9)[:5, :4].flatten()
        torch.testing.assert_close(few_factors[name], expected, rtol=1e-4, atol=1e-4)


def test_splits_and_their_attributes(splits):
    seen = [bank.attributes["alphabet"].unique().tolist() for bank in vars(splits).values()]
    assert seen == [[0, 1, 2, 3, 4], [5], [6, 7]]
    assert [bank.n_classes for bank in vars(splits).values()] == [100, 20, 40]
    assert splits.test.class_names[:2] == ("alphabet06/character00", "alphabet06/character01")
    bank = splits.train
    drawers = bank.attributes["drawer"].view(bank.n_classes, 20)
    assert torch.equal(drawers.sort(1).values, torch.arange(20).expand(bank.n_classes, 20))
    assert (bank.labels // 20 == bank.attributes["alphabet"]).all()
    # A drawer's style persists over the alphabet's characters.
    for name, least in {"thickness": 0.6, "slant": 0.5, "rotation": 0.2}.items():
        values = bank.factors[name].view(5, 20, 20)  # alphabet, character, drawer
        explained = values.mean(1).var(1) / values.flatten(1).var(1)
        assert explained.mean() > least, name


def test_factors_are_moments_of_the_ink(splits):
    bank, factors, images = splits.train, splits.train.factors, ink(splits.train)
    mass, along = images.sum((1, 2)), torch.arange(28) - 13.5
    centre = [images.sum(axis) @ along / mass for axis in (1, 2)]
    for where, name in zip(centre, ("translation_x", "translation_y"), strict=True):
        assert correlation(where, factors[name]) > 0.9
        assert (where - factors[name]).abs().mean() < 0.3
    x, y = (along - where[:, None] for where in centre)
    xx, xy, yy = (
        torch.einsum("nyx,nx,ny->n", images, *powers) / mass
        for powers in ((x**2, y**0), (x, y), (x**0, y**2))
    )
    for moment, factor, least in (
        (mass.log(), factors["thickness"].log(), 0.4),
        (mass.log(), (factors["thickness"] * factors["scale"]).log(), 0.85),
        ((xx + yy).log() / 2, factors["scale"].log(), 0.7),
    ):
        assert correlation(within_classes(moment, bank), within_classes(factor, bank)) > least
    # Flat characters' lean is badly determined.
    tall = ((images.amax(2) > 0.5).sum(1) >= 10).view(bank.n_classes, 20).all(1)
    tall = tall.repeat_interleave(20)
    lean, slant = (within_classes(v, bank)[tall] for v in (-xy / yy, factors["slant"]))
    assert tall.sum() > 200
    assert correlation(lean, slant) > 0.5
    assert float(lean @ slant / (slant @ slant)) == pytest.approx(1, abs=0.1)


def test_drawings_are_turned_clockwise_moved_and_kept_on_the_paper():
    turned = torch.rot90(draw(SEVEN), -1)
    torch.testing.assert_close(draw(SEVEN, rotation=90.0), turned, rtol=0, atol=0.01)
    moved = draw(SEVEN).roll((-2, 3), (0, 1))
    again = draw(SEVEN, translation_x=3 / 28, translation_y=-2 / 28)
    torch.testing.assert_close(again, moved, rtol=0, atol=0.01)
    # What would leave the paper is made smaller and moved in.
    placed, used = pose(SEVEN, factors_with(scale=5.0, translation_x=0.4))
    assert placed.abs().max() < 0.5 - 0.03
    assert 1 < used["scale"] < 5
    assert used["translation_x"] < 0.4


def test_a_bar_leans_to_the_right_and_is_of_the_given_thickness():
    upright, slanted = draw(BAR), draw(BAR, slant=0.4)
    along = torch.arange(28) - 13.5
    top, bottom = ((slanted[row] @ along) / slanted[row].sum() for row in (9, 18))
    assert float(top - bottom) == pytest.approx(0.4 * 9, abs=0.1)
    assert (upright[9] - upright[18]).abs().max() < 0.01
    for thickness in (1.0, 1.7, 3.2):
        image = draw(BAR, thickness=thickness / 28)
        assert image[13].sum() == pytest.approx(thickness, abs=0.02)
    assert draw(BAR, thickness=2 / 28).max() == 1


def test_paper_is_black_ink_is_white_and_nothing_is_cut_off(splits):
    images = splits.train.images
    assert images.dtype == torch.uint8
    assert splits.train.image_shape == (1, 28, 28)
    assert (images.flatten(1).amax(1) >= 200).float().mean() > 0.99
    assert images.float().mean() < 0.15 * 255
    border = torch.cat([images[..., [0, -1], :].flatten(1), images[..., [0, -1]].flatten(1)], 1)
    assert (border > 0).any(1).float().mean() < 0.01


def test_other_sizes_show_the_same_drawings(splits):
    large, factors = draw_alphabet(0, 0, 20, 20, 56)
    small = torch.nn.functional.avg_pool2d(large.float() / 255, 2)[:, 0]
    expected = ink(splits.train)[: len(small)]
    assert correlation(small.flatten(), expected.flatten()) > 0.97
    torch.testing.assert_close(factors["thickness"], 2 * splits.train.factors["thickness"][:400])


def test_an_alphabets_characters_all_differ():
    n = MAX_CHARACTERS
    uniform = torch.stack(
        [torch.rand(N_TRIES, N_STROKES, 2, generator=generator(0, "test", i)) for i in range(4 * n)]
    )
    for a in range(4):
        alphabet = Alphabet.sample(generator(a, "test"))
        strokes, present = alphabet.sample_characters(uniform[a * n : (a + 1) * n])
        drawn = torch.where(present[..., None, None], strokes, strokes[:, :1])
        drawn = drawn - (drawn.amax((1, 2), True) + drawn.amin((1, 2), True)) / 2
        images = render(28 * drawn, torch.full((n,), 1.6), 28).flatten(1) / 255
        assert torch.pdist(images).min() > 2


def test_pixels_tell_characters_apart_about_as_badly_as_omniglots(splits):
    """Nearest prototype on pixels, 5-way 1-shot: 56.8 % error on Omniglot at 28 x 28."""
    learner = Prototypical(Encoder(Pixels((1, 28, 28)), None))
    assert 48 < evaluate(learner, splits.train, n_query=19, episodes=400).errors.mean() < 65


FEW = {"n_characters": 1, "n_drawers": 1, "size": 8}


@pytest.mark.parametrize("settings", [{"n_drawers": 3}, FEW])
def test_the_listing_tells_what_the_splits_hold(settings, listed):
    dataset = Glyphs(**{**SMALL, **settings})
    banks = vars(dataset.splits()).values()
    assert [bank.n_classes for bank in banks] == list(dataset.class_counts().values())
    listed(dataset, "generated", sum(bank.n_classes for bank in banks), sum(map(len, banks)))
    assert all(bank.images.flatten(1).amax(1).min() > 100 for bank in banks)
    dataset.download()  # does nothing


def test_causes_move_their_effects_alone(cache):
    settings = {**SMALL, "n_characters": 12}
    plain = Glyphs(**settings)
    before = plain.splits().train
    cached = set(cache.iterdir())
    causal = Glyphs(**settings, causal=True)
    after = causal.splits().train
    assert set(cache.iterdir()) > cached, "the cache is another"
    assert Glyphs(**settings, causal=False).splits().train.digest == before.digest
    assert set(plain.graph.values()) == {()}
    caused = {name: causes for name, causes in causal.graph.items() if causes}
    assert caused == {"thickness": ("scale",), "slant": ("rotation",)}
    assert torch.equal(before.factors["rotation"], after.factors["rotation"])
    scale, rotation = before.factors["scale"].log(), before.factors["rotation"]
    fits = (scale - after.factors["scale"].log()).abs() < 1e-6  # the others are made to fit
    assert fits.float().mean() > 0.7
    # What is added is the cause's deviation times the known effect.
    pressed = (after.factors["thickness"] / before.factors["thickness"]).log()
    torch.testing.assert_close(pressed[fits], 0.8 * scale[fits], rtol=1e-3, atol=1e-4)
    leaned = after.factors["slant"] - before.factors["slant"]
    torch.testing.assert_close(leaned, 0.024 * rotation, rtol=1e-3, atol=1e-4)
    # Setting a cause to what it is elsewhere moves its effect with it, in either direction.
    for effect, (cause,) in caused.items():
        new = after.factors[cause].flip(0)
        changed = causal.counterfactual(after.factors, cause, new)
        assert [n for n in FACTORS if changed[n] is not after.factors[n]] == sorted((cause, effect))
        back = causal.counterfactual(changed, cause, after.factors[cause])
        torch.testing.assert_close(back[effect], after.factors[effect])
        assert correlation(changed[effect] / after.factors[effect], new) > 0.1
        assert plain.counterfactual(after.factors, cause, new)[effect] is after.factors[effect]
        assert correlation(after.factors[effect], after.factors[cause]) > 0.5, effect
        assert abs(correlation(before.factors[effect], before.factors[cause])) < 0.25, effect


def test_drawers_held_out():
    dataset = Glyphs(**SMALL, n_drawers=10, split="drawers")
    banks = vars(dataset.splits()).values()
    drawers = [bank.attributes["drawer"].unique().tolist() for bank in banks]
    assert drawers == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert dataset.class_counts() == dict.fromkeys(("train", "validation", "test"), 12)


@pytest.mark.parametrize("n_bins", [2, 3, 5])
def test_bins_are_equally_full_and_in_order(n_bins):
    image, label = torch.zeros(300, 1, 2, 2, dtype=torch.uint8), torch.zeros(300, dtype=torch.int64)
    angle = torch.from_numpy(np.random.default_rng(0).normal(size=300))
    bank = ImageBank(image, label, ("a",), {"drawer": torch.arange(300)}, {"angle": angle})
    split = with_binned_factors(Splits(bank, bank, bank), n_bins).train
    assert set(split.targets()) == {"class", "drawer", "angle", "factor angle"}
    bins = split.attributes["angle"]
    assert bins.dtype == torch.int64
    assert bins.bincount().tolist() == [300 // n_bins] * n_bins
    assert (bins[angle.argsort()].diff() >= 0).all()


@pytest.mark.parametrize("split", ["alphabets", "drawers"])
def test_glyphs_offer_their_factors(split, cache):
    plain = Glyphs(**SMALL, split=split).splits()
    cached = sorted(cache.iterdir())
    splits = Glyphs(**SMALL, split=split, factor_bins=2).splits()
    assert sorted(cache.iterdir()) == cached, "the cache is the same"
    assert list(plain.train.attributes) == ["alphabet", "drawer"]
    assert list(splits.train.attributes) == ["alphabet", "drawer", *FACTORS]
    for one, two in zip(vars(plain).values(), vars(splits).values(), strict=True):
        assert torch.equal(one.images, two.images)
        assert one.digest != two.digest, "attributes are part of a bank"
        for name in FACTORS:
            median = np.median(plain.train.factors[name].numpy())
            assert torch.equal(two.attributes[name], (one.factors[name] > median).long()), name
            assert torch.equal(two.factors[name], one.factors[name])

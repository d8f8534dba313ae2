import pytest
import torch

from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.glyphs.handwriting import FACTORS, draw_alphabet, pose
from fewshot.data.glyphs.strokes import MAX_CHARACTERS, N_STROKES, N_TRIES, Alphabet, render
from guided.errors import InputError
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


def centre(images):
    """Of the ink of ``[n, s, s]``: ``[n, 2]``, x and y in pixels from the middle."""
    along = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    x, y = (images.sum(axis) @ along for axis in (1, 2))
    return torch.stack([x, y], 1) / images.sum((1, 2)).unsqueeze(1)


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


@pytest.fixture
def character():
    """Neither symmetrical nor straight: a 7 with a tail, ``[1, 1, 4, 2]``."""
    points = torch.tensor([[-0.2, -0.25], [0.2, -0.2], [-0.1, 0.2], [0.05, 0.25]])
    return points[None, None]


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


def test_splits_share_no_alphabet_and_leave_none_out(splits):
    alphabets = [
        set(bank.attributes["alphabet"].tolist())
        for bank in (splits.train, splits.validation, splits.test)
    ]
    assert alphabets == [{0, 1, 2, 3, 4}, {5}, {6, 7}]
    assert splits.test.class_names[:2] == ("alphabet06/character00", "alphabet06/character01")
    assert [bank.n_classes for bank in (splits.train, splits.validation, splits.test)] == [
        100,
        20,
        40,
    ]


def test_every_class_has_each_drawer_once(splits):
    bank = splits.train
    drawers = bank.attributes["drawer"].view(bank.n_classes, 20)
    assert torch.equal(drawers.sort(1).values, torch.arange(20).expand(bank.n_classes, 20))
    assert (bank.labels // 20 == bank.attributes["alphabet"]).all()


def test_a_drawers_style_persists_over_the_alphabets_characters(splits):
    for name, least in {"thickness": 0.6, "slant": 0.5, "rotation": 0.2}.items():
        values = splits.train.factors[name].view(5, 20, 20)  # alphabet, character, drawer
        explained = values.mean(1).var(1) / values.flatten(1).var(1)
        assert explained.mean() > least, name


def test_translation_is_where_the_ink_is(splits):
    where = centre(ink(splits.train))
    for i, name in enumerate(("translation_x", "translation_y")):
        truth = splits.train.factors[name]
        assert correlation(where[:, i], truth) > 0.9
        assert (where[:, i] - truth).abs().mean() < 0.3


def test_thickness_and_scale_are_how_much_ink_there_is_and_how_far_out(splits):
    bank = splits.train
    factors = bank.factors
    mass = within_classes(ink(bank).sum((1, 2)).log(), bank)
    assert correlation(mass, within_classes(factors["thickness"].log(), bank)) > 0.4
    both = within_classes((factors["thickness"] * factors["scale"]).log(), bank)
    assert correlation(mass, both) > 0.85

    along = torch.arange(28) - 13.5
    x, y = centre(ink(bank)).unbind(1)
    square = (along - x[:, None]).square().unsqueeze(1) + (along - y[:, None]).square().unsqueeze(2)
    radius = ((ink(bank) * square).sum((1, 2)) / ink(bank).sum((1, 2))).sqrt()
    relation = correlation(
        within_classes(radius.log(), bank), within_classes(factors["scale"].log(), bank)
    )
    assert relation > 0.7


def test_slant_is_the_lean_of_the_ink(splits):
    bank, images = splits.train, ink(splits.train)
    along = torch.arange(28) - 13.5
    x, y = centre(images).unbind(1)
    from_x, from_y = along - x[:, None], along - y[:, None]
    lean = -torch.einsum("nyx,nx,ny->n", images, from_x, from_y)
    lean = lean / torch.einsum("nyx,ny->n", images, from_y.square())
    # Flat characters' lean is badly determined.
    tall = ((images.amax(2) > 0.5).sum(1) >= 10).view(bank.n_classes, 20).all(1)
    tall = tall.repeat_interleave(20)
    a = within_classes(lean, bank)[tall]
    b = within_classes(bank.factors["slant"], bank)[tall]
    assert tall.sum() > 200
    assert correlation(a, b) > 0.5
    assert float(a @ b / (b @ b)) == pytest.approx(1, abs=0.1)


def test_a_quarter_turn_clockwise(character):
    turned = torch.rot90(draw(character), -1)
    torch.testing.assert_close(draw(character, rotation=90.0), turned, rtol=0, atol=0.01)


def test_a_translation_by_whole_pixels(character):
    moved = draw(character).roll((-2, 3), (0, 1))
    again = draw(character, translation_x=3 / 28, translation_y=-2 / 28)
    torch.testing.assert_close(again, moved, rtol=0, atol=0.01)


def test_slant_leans_a_bar_to_the_right():
    bar = torch.tensor([[0.0, -0.25], [0.0, 0.25]])[None, None]
    upright, slanted = draw(bar), draw(bar, slant=0.4)
    along = torch.arange(28) - 13.5
    top, bottom = ((slanted[row] @ along) / slanted[row].sum() for row in (9, 18))
    assert float(top - bottom) == pytest.approx(0.4 * 9, abs=0.1)
    assert (upright[9] - upright[18]).abs().max() < 0.01


def test_ink_is_a_line_of_the_given_thickness():
    bar = torch.tensor([[0.0, -0.25], [0.0, 0.25]])[None, None]
    for thickness in (1.0, 1.7, 3.2):
        image = draw(bar, thickness=thickness / 28)
        assert image[13].sum() == pytest.approx(thickness, abs=0.02)
    assert draw(bar, thickness=2 / 28).max() == 1


def test_what_would_leave_the_paper_is_made_smaller_and_moved_in(character):
    wanted = factors_with(scale=5.0, translation_x=0.4)
    placed, used = pose(character, wanted)
    assert placed.abs().max() < 0.5 - 0.03
    assert 1 < used["scale"] < 5
    assert used["translation_x"] < 0.4
    assert wanted["scale"] == 5  # the argument is untouched


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
    bank = splits.train
    pixels = ink(bank).flatten(1).view(bank.n_classes, 20, -1)
    g = generator(0, "test")
    errors = []
    for _ in range(400):
        classes = torch.randperm(bank.n_classes, generator=g)[:5]
        order = torch.rand(5, 20, generator=g).argsort(1)
        chosen = pixels[classes[:, None], order]
        nearest = torch.cdist(chosen[:, 1:].flatten(0, 1), chosen[:, 0]).argmin(1)
        errors.append((nearest != torch.arange(5).repeat_interleave(19)).float().mean())
    error = 100 * float(torch.stack(errors).mean())
    assert 48 < error < 65


def test_the_listing_tells_what_the_splits_hold():
    for settings in ({"n_drawers": 3}, {"n_characters": 1, "n_drawers": 1, "size": 8}):
        dataset = Glyphs(**{**SMALL, **settings})
        listing, splits = dataset.listing(), dataset.splits()
        banks = (splits.train, splits.validation, splits.test)
        assert (listing.name, listing.found, listing.where) == ("glyphs", True, "generated")
        assert [bank.n_classes for bank in banks] == list(dataset.class_counts().values())
        assert listing.classes == sum(bank.n_classes for bank in banks)
        assert listing.images == sum(len(bank) for bank in banks)
        assert all(bank.images.flatten(1).amax(1).min() > 100 for bank in banks)
        dataset.download()  # does nothing


def test_drawers_held_out():
    dataset = Glyphs(**SMALL, n_drawers=10, split="drawers")
    splits = dataset.splits()
    banks = (splits.train, splits.validation, splits.test)
    drawers = [bank.attributes["drawer"].unique().tolist() for bank in banks]
    assert drawers == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert dataset.class_counts() == dict.fromkeys(("train", "validation", "test"), 12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_alphabets": 2}, "Glyphs.n_alphabets: expected at least 3, got 2"),
        ({"n_characters": 0}, "Glyphs.n_characters: expected 1 … 30, got 0"),
        ({"n_characters": 31}, "Glyphs.n_characters: expected 1 … 30, got 31"),
        ({"n_drawers": 0}, "Glyphs.n_drawers: expected at least 1, got 0"),
        ({"size": 7}, "Glyphs.size: expected at least 8, got 7"),
        ({"split": "seeds"}, "Glyphs.split: expected one of alphabets, drawers, got seeds"),
        ({"split": "drawers", "n_drawers": 4}, "Glyphs.n_drawers: expected at least 5, got 4"),
        ({"factor_bins": 1}, "Glyphs.factor_bins: expected at least 2, got 1"),
        ({"seed": -1}, "Glyphs.seed: expected at least 0, got -1"),
        ({"validation_alphabets": 0}, "Glyphs.validation_alphabets: expected at least 1, got 0"),
        ({"test_alphabets": 0}, "Glyphs.test_alphabets: expected at least 1, got 0"),
        (
            {"test_alphabets": 17},
            "Glyphs: validation_alphabets (3) + test_alphabets (17): "
            "expected fewer than n_alphabets (20)",
        ),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(InputError) as caught:
        Glyphs(**settings)
    assert str(caught.value) == message

"""Every public name can be imported and says in its docstring what it is and takes."""

import importlib
import inspect
import pkgutil
import re
import typing

import pytest
from torch import Tensor, nn

import fewshot
import guided

PACKAGES = sorted(
    [
        "fewshot",
        "guided",
        *(
            found.name
            for package in (fewshot, guided)
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
            if found.ispkg
        ),
    ]
)
PUBLIC = {
    f"{package}.{name}": getattr(importlib.import_module(package), name)
    for package in PACKAGES
    for name in getattr(importlib.import_module(package), "__all__", ())
}
# An item with several public names is looked at once; constants and aliases have no docstring.
ITEMS = {
    id(item): pytest.param(item, id=path)
    for path, item in PUBLIC.items()
    if inspect.isclass(item) or inspect.isfunction(item) or inspect.ismodule(item)
}.values()


def is_a_sentence(text):
    """True if the first paragraph says what a thing is or does, and ends with a full stop."""
    first = inspect.cleandoc(text).split("\n\n")[0]
    return first.endswith((".", "…")) and not re.match(r"(What|Whether|Where|How)\b", first)


def holds_tensors(annotation):
    """True if a type is a tensor, or has one among its parameters."""
    if isinstance(annotation, type) and issubclass(annotation, Tensor):
        return True
    return any(holds_tensors(part) for part in typing.get_args(annotation))


def functions(item):
    """Public functions and methods written in this project, with their names."""
    if inspect.isfunction(item):
        yield item.__name__, item
    elif inspect.isclass(item):
        for name, member in vars(item).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and not name.startswith("_"):
                yield f"{item.__name__}.{name}", function


def documentation(item, name, function):
    """The docstring of a method, of the one that it overrides, or else those of its classes."""
    own = function.__doc__ or inspect.getdoc(getattr(item, name.rpartition(".")[2], function))
    if own and "Define the computation" not in own:  # as torch says of every module
        return own
    ours = [base for base in item.__mro__ if base.__module__.startswith(("fewshot.", "guided."))]
    return " ".join(base.__doc__ or "" for base in ours)


def test_names_are_found_in_every_package():
    assert len(PUBLIC) > 60
    for package in ("fewshot", "guided", "fewshot.data", "fewshot.learners", "guided.guidance"):
        assert any(path.rpartition(".")[0] == package for path in PUBLIC), package


@pytest.mark.parametrize("item", ITEMS)
def test_a_docstring_of_its_own_is_a_sentence(item):
    assert item.__doc__
    assert is_a_sentence(item.__doc__), item.__doc__
    if inspect.isclass(item):
        assert all(item.__doc__ != base.__doc__ for base in item.__mro__[1:])
    for name, function in functions(item):
        if function.__doc__:
            assert is_a_sentence(function.__doc__), f"{name}: {function.__doc__}"


@pytest.mark.parametrize("item", ITEMS)
def test_tensors_have_shapes(item):
    """A function that takes a tensor, and an attribute that is one, state a shape in brackets."""
    if inspect.isclass(item) and not issubclass(item, nn.Module):
        for name, annotation in inspect.get_annotations(item).items():
            if holds_tensors(annotation) and not name.startswith("_"):
                said = re.search(rf"^ +{name}: (.+(?:\n {{9,}}.+)*)", item.__doc__, re.MULTILINE)
                assert said and "[" in said[1], f"{name} has no shape"
    for name, function in functions(item):
        parameters = inspect.signature(function).parameters.values()
        if any(holds_tensors(p.annotation) for p in parameters):
            assert re.search(r"\[.*\]|scalar", documentation(item, name, function)), name

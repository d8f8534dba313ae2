import time

import pytest
import yaml

from fewshot.config.files import read_file, read_yaml
from fewshot.config.yaml import DEEPEST, LARGEST
from guided import InputError

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 60)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 60)
)
LONG = f"a: &a {'x' * (LARGEST // 10)}\nb: [{', '.join(['*a'] * 12)}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands twice, first in line 1"),
        ("a:\n  b: {c: 1, d: 2, c: 3}\n", "line 2: key 'c' stands twice, first in line 2"),
        ("a: 1\n'a': 2\n", "line 2: key 'a' stands twice"),
        ("a: &a [*a]", r"line 1: \*a refers to itself"),
        ("a: 1\nb: &b\n  c: [1, {d: *b}]\n", r"line 3: \*b refers to itself"),
        ("&a {? *a : 1}", r"line 1: \*a refers to itself"),
        (LAUGHS, r"line \d: over 1,000,000 characters with its aliases written out"),
        (MERGED, r"line \d: over 1,000,000 characters with its aliases written out"),
        (LONG, "line 2: over 1,000,000 characters with its aliases written out"),
        ("x" * (LARGEST + 1), "is too large for a configuration: over 1,000,000 characters"),
        ("[" * 1000, f"line 1: nested more than {DEEPEST} deep"),
        ("{a: " * 1000, f"line 1: nested more than {DEEPEST} deep"),
        ("- " * 1000, f"line 1: nested more than {DEEPEST} deep"),
        ("a: 1\nb: c: d\n", r"line 2: is not YAML \(mapping values are not allowed here\)"),
        ("a:\n\t- 1\n", "line 2: is not YAML .*cannot start any token"),
        ("a: 1\nb: *c\n", "line 2: is not YAML .*undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2: is not YAML .*another document"),
        ("a: 1\nb: \x00\n", "line 2: is not YAML .*special characters"),
        ("a: !!python/object/apply:os.system [x]\n", "line 1: is not YAML .*could not determine"),
        ("{[1]: 2}", "line 1: is not YAML .*unhashable"),
        ("a: !!int x", "line 1: cannot be read as int: x"),
        ("a: !!timestamp x", "line 1: cannot be read as timestamp: x"),
        ("a: 0x_", "line 1: cannot be read as int: 0x_"),
        (f"a: {'9' * 5000}", "line 1: cannot be read as int: 999"),
    ],
)
def test_what_is_not_read_is_refused_in_one_short_line(text, message, tmp_path):
    before = time.process_time()
    with pytest.raises(InputError, match=f"^key: {message}") as caught:
        read_yaml(text, "key", lines=True)
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"study.yaml: {message}"):
        read_file(path)
    assert time.process_time() - before < 5
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_what_is_read_is_what_pyyaml_reads_but_for_numbers_and_dates():
    text = """
      base: &base {steps: 100, rate: 1.0e-3, list: [1, two, null, true]}
      other: {<<: *base, steps: 200}
      both: [*base, *base]
      block: |
        several
        lines
      1: number
    """
    assert read_yaml(text, "") == yaml.safe_load(text)
    assert read_yaml("[1e-3, -2E5, 2024-01-31, 1e, e3]", "") == [
        0.001,
        -200_000.0,
        "2024-01-31",
        "1e",
        "e3",
    ]


def test_a_mapping_that_is_merged_before_it_is_read_has_its_keys_once():
    text = "x:\n  a: &a {<<: &b {k: 1}, k: 2}\ny: {<<: *a, k: 3}\n"
    assert read_yaml(text, "") == {"x": {"a": {"k": 2}}, "y": {"k": 3}}

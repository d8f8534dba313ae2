"""Lake's archive, in small."""

import pytest

from fewshot.study.lake.runs import read_runs


@pytest.fixture(scope="module")
def runs(lake_folder):
    return read_runs(lake_folder, 28)

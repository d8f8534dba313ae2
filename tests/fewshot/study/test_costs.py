"""What trainings cost: read from finished cells, and beside the baseline."""

from pathlib import Path

from fewshot.study.cells import Cell
from fewshot.study.costs import Cost, costs_table, training_costs


def cell(folder: Path, steps: int, seconds: float, work: float) -> Cell:
    made = Cell(folder, {}, folder.name)
    folder.mkdir()
    history = [{"step": step, "score": 0.0} for step in range(100, steps + 1, 100)]
    made.finish(seconds, {"history": history, "processor_seconds": work})
    return made


def test_costs_of_a_step_are_compared_in_processor_time(tmp_path: Path) -> None:
    encoders = {
        ("vae", 0): cell(tmp_path / "a", 1000, 90.0, 10.0),
        ("vae", 1): cell(tmp_path / "b", 1000, 10.0, 10.0),
        ("guided", 0): cell(tmp_path / "c", 500, 9.0, 15.0),
        ("pixels", 0): cell(tmp_path / "d", 0, 1.0, 1.0),
    }
    costs = training_costs(encoders)
    assert Cost("guided", 0, 500, 9.0, 15.0) in costs
    assert {cost.arm for cost in costs} == {"vae", "guided"}  # nothing was trained for pixels
    assert [Cost.from_json(cost.to_json()) for cost in costs] == costs
    table = costs_table(costs, "vae").splitlines()
    assert table[2] == "| vae | 1,000 | 10 | 10.0 | 1.0 |"
    assert table[3] == "| guided | 500 | 15 | 30.0 | 3.0 |"

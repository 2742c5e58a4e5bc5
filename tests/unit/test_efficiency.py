"""The table of what Teacher and Student take."""

from __future__ import annotations

import pandas as pd
import pytest

from plkd.evaluation.costs import cost_table
from plkd.paper.efficiency import EFFICIENCY_COLUMNS, efficiency_table

OF_PAPER = pd.DataFrame({"method": ["teacher", "student"], "value": [28874173, 547597]})


def costs() -> pd.DataFrame:
    rows = []
    for seed in (0, 1):
        common = {"dataset": "d", "variant": "v", "seed": seed, "n_reference": 50, "n_passed": 600}
        for method, parameters, seconds in (
            ("teacher", 1000, 3 + seed),
            ("student", 300, 1 + seed),
            ("popv", 10, 9),
        ):
            taken = {"training_seconds": 7, "prediction_seconds": seconds, "peak_mb": 10 + seed}
            rows.append({**common, "method": method, "parameters": parameters, **taken})
    return cost_table([{**row, "machine": "m"} for row in rows])


def test_size_and_speed_stand_beside_the_papers():
    table = efficiency_table(costs(), OF_PAPER)
    assert list(table) == list(EFFICIENCY_COLUMNS)
    assert list(table["model"]) == ["teacher", "student"]
    found = table.set_index("model").loc["student"]
    assert (found["share"], found["seeds"], found["peak_mb"]) == (0.3, 2, 11)
    assert found["cells_per_second"] == pytest.approx(600 / 1.5)
    assert found["paper_share"] == pytest.approx(0.0190, abs=5e-5)  # "1.9 %", section 4.1
    assert found["n_passed"] == 600


def test_without_models_there_is_no_row():
    assert efficiency_table(costs().query("method == 'popv'"), OF_PAPER).empty

"""A query that is predicted in parts, as the pipeline does with `scatter`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import adapt
import predict
from job import job
from plkd.errors import InputError
from plkd.prediction import predict as prediction
from plkd.prediction.predict import parts_of
from plkd.utils.files import sha256_of
from simulated import make_cells
from trained import logged, trained_model

N_CELLS = 90


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained_model().save(folder / "model")
    cells = make_cells(N_CELLS, 110, types=5, batches=2, seed=4)
    cells.X = logged(cells)
    index = cells.obs_names
    cells.obs = pd.DataFrame({"batch": "b", "source_row": np.arange(N_CELLS)}, index=index)
    cells.var["in_query"] = np.arange(110) != 100
    cells.write_h5ad(folder / "query.h5ad")
    return folder


def predicted(
    run: Path, name: str, wildcards: dict[str, str], device: str = "cpu", **more: object
) -> tuple[str, str]:
    """Run the script of the rule; gives what it wrote."""
    output = {"predictions": f"{run / name}.parquet", "embedding": f"{run / name}.h5ad"}
    predict.main(
        job(
            input={
                "model": str(run / "model" / "model.json"),
                "query": run / "query.h5ad",
                **more,
            },
            output=output,
            wildcards={"model": "student", **wildcards},
            params={"device": device},
        )
    )
    return output["predictions"], output["embedding"]


def test_any_number_of_parts_gives_the_same_bytes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_BLOCK", 16)
    adapt.main(
        job(
            input={"model": str(run / "model" / "model.json"), "query": run / "query.h5ad"},
            output={"adaptation": run / "adaptation.json"},
            wildcards={"model": "student"},
        )
    )
    whole, embedding = predicted(run, "whole", {})
    for n in (1, 2, 3, 7):  # with seven, one has no cells
        parts = [
            predicted(
                run,
                f"{k}-of-{n}",
                {"scatteritem": f"{k}-of-{n}"},
                adaptation=run / "adaptation.json",
            )
            for k in range(1, n + 1)
        ]
        tables, embedded = map(list, zip(*parts, strict=True))
        gathered = predicted(run, f"of{n}", {}, parts=tables[::-1], embedded=embedded)
        assert sha256_of(gathered[0]) == sha256_of(whole)
        assert sha256_of(gathered[1]) == sha256_of(embedding)
    # that asks for no GPU, and is done where there is none
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    predicted(run, "gathered", {}, "cuda", parts=tables, embedded=embedded)
    with pytest.raises(InputError, match="CUDA"):
        predicted(run, "whole", {}, "cuda")
    with pytest.raises(InputError, match="not of the same cells"):
        predicted(run, "lacking", {}, parts=tables[:-1], embedded=embedded)


@pytest.mark.parametrize(("n_cells", "n_parts"), [(0, 2), (5, 3), (100_000, 7), (4096, 2)])
def test_parts_follow_each_other(n_cells: int, n_parts: int) -> None:
    parts = parts_of(n_cells, n_parts)
    assert len(parts) == n_parts
    rows = np.concatenate([np.arange(n_cells)[part] for part in parts])
    np.testing.assert_array_equal(rows, np.arange(n_cells))
    sizes = [part.stop - part.start for part in parts if part.stop < n_cells]
    assert len(set(sizes)) <= 2

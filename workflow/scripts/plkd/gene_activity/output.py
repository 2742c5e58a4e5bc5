"""Cells x genes as an h5ad that is written chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.io.h5ad_writer import chunked_h5ad
from plkd.io.normalisation import TARGET_SUM
from plkd.utils.files import whole_file


def write_by_chunks(
    output: str | Path,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    chunks: Iterable[sparse.csr_matrix],
    made_by: Mapping[str, Any],
    spatial: NDArray[np.floating[Any]] | None,
) -> None:
    """Write the chunks one after the other as the rows of `X`; `made_by` goes to `uns`."""
    uns = {"plkd_gene_activity": dict(made_by)}
    obsm = {} if spatial is None else {"spatial": spatial}
    frame = ad.AnnData(obs=obs, var=var, obsm=obsm, uns=uns)
    with whole_file(output) as temporary, chunked_h5ad(temporary, frame, compression=1) as append:
        for chunk in chunks:
            append("X", chunk)


def gene_table(genes: pd.DataFrame) -> pd.DataFrame:
    """One row per name, in the order in which they occur first."""
    groups = genes.groupby("gene", sort=False)
    table = groups[["chrom", "start", "end", "strand"]].first()
    return table.assign(places=groups.size())


def rows_of(
    blocks: Iterable[sparse.csr_matrix], kept: NDArray[np.bool_]
) -> Iterator[sparse.csr_matrix]:
    """Rows that are kept of blocks that come one after the other."""
    start = 0
    for block in blocks:
        chosen = kept[start : start + block.shape[0]]
        start += block.shape[0]
        yield block if chosen.all() else sparse.csr_matrix(block[chosen])


def scale_rows(X: sparse.csr_matrix) -> None:
    """Bring every row to `TARGET_SUM`, in place; rows of zeros stay."""
    totals = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    factors = np.divide(TARGET_SUM, totals, out=np.ones_like(totals), where=totals > 0)
    X.data *= np.repeat(factors.astype(np.float32), np.diff(X.indptr))


def rows_kept(X: sparse.csr_matrix, kept: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Empty the rows that are not kept."""
    return sparse.csr_matrix(sparse.diags_array(kept.astype(X.dtype), format="csr") @ X)

"""A matrix of counts written in every format that can be read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmwrite

Writer = Callable[[sparse.csr_matrix, list[str], list[str], Path], None]


def as_anndata(X: object, cells: list[str], genes: list[str]) -> ad.AnnData:
    return ad.AnnData(X, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes))


def h5ad(change: Callable[[sparse.csr_matrix], object], **options: object) -> Writer:
    return lambda X, cells, genes, path: as_anndata(change(X), cells, genes).write_h5ad(
        path, **options
    )


def write_zarr(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
    as_anndata(X, cells, genes).write_zarr(path)


def write_h5mu(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
    """Two modalities; of the second one cell is absent and one has no partner."""
    others = [*cells[1:], "unpaired"]
    peaks = as_anndata(np.ones((len(others), 3), dtype=np.float32), others, ["p1", "p2", "p3"])
    mudata.MuData({"rna": as_anndata(X, cells, genes), "atac": peaks}).write_h5mu(path)


def write_10x_h5(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
    with h5py.File(path, "w") as store:
        matrix = store.create_group("matrix")
        matrix["data"], matrix["indices"] = X.data.astype(np.int32), X.indices.astype(np.int64)
        matrix["indptr"], matrix["shape"] = X.indptr.astype(np.int64), np.array(X.shape[::-1])
        matrix["barcodes"] = np.array(cells, dtype="S")
        features = matrix.create_group("features")
        features["id"] = np.array([f"ID{i}" for i in range(len(genes))], dtype="S")
        features["name"] = np.array(genes, dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * len(genes), dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(genes), dtype="S")


def write_10x_mtx(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
    path.mkdir()
    mmwrite(path / "matrix.mtx", X.T.astype(int))
    rows = [f"ID{i}\t{gene}\tGene Expression\n" for i, gene in enumerate(genes)]
    (path / "features.tsv").write_text("".join(rows))
    (path / "barcodes.tsv").write_text("".join(f"{cell}\n" for cell in cells))


def write_loom(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
    import loompy

    names = {"Gene": np.array(genes)}, {"CellID": np.array(cells)}
    loompy.create(str(path), {"": X.toarray().T}, *names)


def text(separator: str, packed: bool) -> Writer:
    def write(X: sparse.csr_matrix, cells: list[str], genes: list[str], path: Path) -> None:
        table = pd.DataFrame(X.toarray().astype(int), index=cells, columns=genes)
        content = table.to_csv(sep=separator).encode()
        path.write_bytes(gzip.compress(content) if packed else content)

    return write


WRITERS: dict[str, Writer] = {
    "h5ad csr": h5ad(sparse.csr_matrix),
    "h5ad csc": h5ad(sparse.csc_matrix),
    "h5ad dense": h5ad(lambda X: X.toarray()),
    "h5ad packed": h5ad(sparse.csr_matrix, compression="gzip"),
    "zarr": write_zarr,
    "zarr dense": lambda X, *names_and_path: write_zarr(X.toarray(), *names_and_path),
    "zarr csc": lambda X, *names_and_path: write_zarr(X.tocsc(), *names_and_path),
    "h5mu": write_h5mu,
    "10x h5": write_10x_h5,
    "10x mtx": write_10x_mtx,
    "loom": write_loom,
    "csv": text(",", packed=False),
    "tsv.gz": text("\t", packed=True),
}

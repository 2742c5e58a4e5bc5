"""Gene activity: time and memory on generated data, and what it is worth on real cells.

    python tests/benchmarks/gene_activity.py                           time and memory
    python tests/benchmarks/gene_activity.py --quality --data FOLDER   transfer between two donors

Every measurement is a process of its own. Memory is the peak of that process; what the libraries
take is the first row.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import bioframe
import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "workflow" / "scripts"))

from plkd.gene_activity import RULES, write_gene_activity  # noqa: E402

GENES = 25_000
SHAPES = ((14_125, 10_000, 300), (25_000, 300_000, 3000), (100_000, 300_000, 3000))
FRAGMENTS = ((1_000, 2_000_000), (4_000, 8_000_000))
CHUNK = 2000


def make_genome(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Genes of ordinary length all over hg38 as a BED file; sizes of the chromosomes."""
    rng = np.random.default_rng(0)
    sizes = bioframe.assembly_info("hg38").chromsizes
    sizes = sizes[[name for name in sizes.index if name != "chrM"]]
    chrom = rng.choice(sizes.index, GENES, p=sizes / sizes.sum())
    length = np.minimum(rng.lognormal(9.5, 1.5, GENES).astype(int) + 200, 400_000)
    start = (rng.random(GENES) * (sizes[chrom].to_numpy() - length)).astype(int)
    genes = pd.DataFrame(
        {"chrom": chrom, "start": start, "end": start + length, "gene": range(GENES), "score": "."}
    )
    genes["gene"] = "G" + genes["gene"].astype(str)
    genes["strand"] = rng.choice(["+", "-"], GENES)
    genes.to_csv(folder / "genes.bed", sep="\t", header=False, index=False)
    return genes, sizes


def places(genes: pd.DataFrame, sizes: pd.Series, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Positions, a third of them at starts of genes, the others anywhere."""
    rng = np.random.default_rng(seed)
    chrom = rng.choice(sizes.index, n, p=sizes / sizes.sum()).astype(object)
    start = (rng.random(n) * (sizes[chrom].to_numpy() - 1000)).astype(int)
    near = rng.random(n) < 1 / 3
    some = genes.iloc[rng.integers(0, len(genes), near.sum())]
    tss = np.where(some["strand"] == "+", some["start"], some["end"])
    chrom[near] = some["chrom"].to_numpy()
    start[near] = np.maximum(tss + rng.integers(-900, 400, near.sum()), 0)
    return chrom, start


def make_peaks(folder: Path, n_cells: int, n_peaks: int, per_cell: int) -> Path:
    """Write cells x peaks in chunks."""
    path = folder / f"peaks_{n_cells}_{n_peaks}.h5ad"
    genes, sizes = make_genome(folder)
    chrom, start = places(genes, sizes, n_peaks, 1)
    end = np.minimum(start + 500, sizes[chrom].to_numpy())
    names = [f"{c}:{s}-{e}" for c, s, e in zip(chrom, start, end, strict=True)]
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    ad.AnnData(obs=obs, var=pd.DataFrame(index=names)).write_h5ad(path)
    rng = np.random.default_rng(2)
    with h5py.File(path, "a") as store:
        if "X" in store:
            del store["X"]
        write_elem(
            store, "X", sparse.csr_matrix((0, n_peaks), dtype=np.float32),
            dataset_kwargs={"indptr_dtype": np.int64, "chunks": (65536,)},
        )  # fmt: skip
        X = sparse_dataset(store["X"])
        for first in range(0, n_cells, CHUNK):
            n = min(CHUNK, n_cells - first)
            columns = np.sort((rng.random((n, per_cell)) ** 1.5 * n_peaks).astype(np.int32), axis=1)
            counts = rng.geometric(0.6, columns.size).astype(np.float32)
            indptr = np.arange(0, columns.size + 1, per_cell)
            chunk = sparse.csr_matrix((counts, columns.ravel(), indptr), shape=(n, n_peaks))
            chunk.sum_duplicates()
            X.append(chunk)
    return path


def make_fragments(folder: Path, n_cells: int, n_fragments: int) -> Path:
    """Write a fragment file, a chromosome after the other."""
    path = folder / f"fragments_{n_cells}_{n_fragments}.tsv.gz"
    genes, sizes = make_genome(folder)
    chrom, start = places(genes, sizes, n_fragments, 3)
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"chrom": chrom, "start": start})
    table["end"] = start + rng.integers(30, 600, n_fragments)
    table["barcode"] = pd.Categorical.from_codes(
        rng.integers(0, n_cells, n_fragments), [f"CELL{i:06d}-1" for i in range(n_cells)]
    )
    table["reads"] = rng.integers(1, 5, n_fragments)
    table = table.sort_values(["chrom", "start"])
    with gzip.open(path, "wt", compresslevel=1) as handle:
        table.to_csv(handle, sep="\t", header=False, index=False)
    return path


def measure(path: Path, rule: str) -> None:
    """In a process of its own: print seconds and the peak of memory."""
    options = {"min_fragments": 1} if rule == "signac" else {}
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    write_gene_activity(
        path, path.parent / "genes.bed", path.parent / "out.h5ad", rule=rule, progress=False,
        **options,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "libraries": libraries, "peak": peak}))


def run_apart(arguments: list[str]) -> dict[str, float]:
    """Run this file again with the arguments and read the last line that it prints."""
    out = subprocess.run(
        [sys.executable, str(HERE), *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(out.stdout.splitlines()[-1])


def time_and_memory(scale: float) -> None:
    print("| input | rule | time | peak memory | of it libraries |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="plkd-benchmark-") as name:
        cases = [
            (f"{int(n * scale):,} cells x {p:,} peaks, {k:,} per cell", rule,
             ["--make", "peaks", str(int(n * scale)), str(p), str(k)])
            for n, p, k in SHAPES for rule in ("seurat", "distance")
        ]  # fmt: skip
        cases += [
            (f"{n:,} cells, {int(f * scale):,} fragments", "signac",
             ["--make", "fragments", str(n), str(int(f * scale))])
            for n, f in FRAGMENTS
        ]  # fmt: skip
        made: dict[str, Path] = {}
        for text, rule, make in cases:
            if text not in made:
                for old in made.values():
                    old.unlink(missing_ok=True)
                made[text] = Path(run_apart([*make, "--folder", name])["path"])  # type: ignore[arg-type]
            got = run_apart(["--measure", str(made[text]), rule])
            print(
                f"| {text} | {rule} | {got['seconds']:.0f} s | {got['peak'] / 1024:,.0f} MB | "
                f"{got['libraries'] / 1024:,.0f} MB |",
                flush=True,
            )


def quality(data: Path) -> None:
    """Bone marrow, donor D6T1 to D5T1: 60 components of log1p CP10k, logistic regression."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    from plkd.io.normalisation import to_log_normalised
    from plkd.io.scale import detect_scale

    peaks = data / "atac_hematopoiesis_granja_10kpeaks.h5ad"
    print("| features | accuracy | macro F1 |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="plkd-benchmark-") as folder:
        sources = {"peaks": peaks}
        for rule in (rule for rule in RULES if rule != "signac"):
            sources[f"genes, rule {rule}"] = Path(folder) / f"{rule}.h5ad"
            write_gene_activity(
                peaks, data / "hg19_genes.bed", sources[f"genes, rule {rule}"], rule=rule,
                progress=False,
            )  # fmt: skip
        for name, path in sources.items():
            cells = ad.read_h5ad(path)
            counts = sparse.csr_matrix(cells.X)
            X = to_log_normalised(counts, detect_scale(counts))
            labels = cells.obs["cell_type"].astype(str).to_numpy()
            reference = (cells.obs["batch"] == "BMMC_D6T1").to_numpy()
            query = ~reference & np.isin(labels, labels[reference])
            components = TruncatedSVD(60, random_state=0).fit(X[reference])
            model = LogisticRegression(max_iter=1000)
            model.fit(components.transform(X[reference]), labels[reference])
            found = model.predict(components.transform(X[query]))
            accuracy = accuracy_score(labels[query], found)
            kinds = np.unique(labels[query])
            f1 = f1_score(labels[query], found, average="macro", labels=kinds)
            print(f"| {name} | {accuracy:.3f} | {f1:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cells to generate")
    parser.add_argument("--quality", action="store_true", help="transfer between donors instead")
    parser.add_argument("--data", type=Path, help="folder of the public data, for --quality")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    choice = parser.parse_args()
    if choice.measure:
        measure(Path(choice.measure[0]), choice.measure[1])
    elif choice.make:
        make = {"peaks": make_peaks, "fragments": make_fragments}[choice.make[0]]
        path = make(choice.folder, *map(int, choice.make[1:]))
        print(json.dumps({"path": str(path)}))
    elif choice.quality:
        quality(choice.data)
    else:
        time_and_memory(choice.scale)


if __name__ == "__main__":
    main()

"""Published tools for real: their environments are installed (`make test-rivals`, minutes).

Each labels simulated cells, and some are compared with the same tool called by hand.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import run_method
from methods.exchange import Cells
from plkd.pipeline.environments import NotProvidedError, python_of
from plkd.pipeline.methods import read_registry
from plkd.prediction.table import read_predictions
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from project import REPOSITORY
from simulated import make_cells

ENVIRONMENTS = REPOSITORY / "environments"
METHODS = REPOSITORY / "envs" / "methods"
REGISTRY = read_registry(REPOSITORY / "config" / "methods.tsv")
TOOLS = REGISTRY[REGISTRY["runs"].isin(["pip", "R"]) & (REGISTRY["script"] != "-")]
SCRIPTS = REPOSITORY / "workflow" / "scripts" / "methods"
BY_HAND = {
    "celltypist": """
import sys, anndata, celltypist
reference, query = map(anndata.read_h5ad, sys.argv[1:3])
model = celltypist.train(reference, labels="label", check_expression=False, n_jobs=1)
labels = celltypist.annotate(query, model=model).predicted_labels["predicted_labels"]
labels.to_csv(sys.argv[3], header=False)
""",
    "xgboost": """
import sys, h5py, csv
import numpy as np, xgboost
def read(path):
    with h5py.File(path) as f:
        X = np.zeros(f["X"].attrs["shape"], dtype=np.float32)
        for i, (a, b) in enumerate(zip(f["X/indptr"][:-1], f["X/indptr"][1:])):
            X[i, f["X/indices"][a:b]] = f["X/data"][a:b]
        X[X == 0] = np.nan
        label = f["obs/label"] if "label" in f["obs"] else None
        names = label["categories"].asstr()[:] if label else None
        return X, f["obs"][f["obs"].attrs["_index"]].asstr()[:], label and label["codes"][:], names
X, _, codes, names = read(sys.argv[1])
Y, ids, _, _ = read(sys.argv[2])
options = {"objective": "multi:softmax", "num_class": len(names)}
found = xgboost.train(options, xgboost.DMatrix(X, label=codes), 100).predict(xgboost.DMatrix(Y))
csv.writer(open(sys.argv[3], "w")).writerows(zip(ids, names[found.astype(int)]))
""",
    "scanvi": """
import sys, anndata, scvi
scvi.settings.seed = 0
sides = map(anndata.read_h5ad, sys.argv[1:3])
cells = anndata.concat(sides, keys=["r", "q"], index_unique="-", join="outer")
cells.obs["label"] = cells.obs["label"].astype(object).fillna("Unknown")
scvi.model.SCVI.setup_anndata(cells, layer="counts", batch_key="batch", labels_key="label")
model = scvi.model.SCVI(cells, n_layers=2, n_latent=30, gene_likelihood="nb")
model.train(max_epochs=100, accelerator="cpu")
model = scvi.model.SCANVI.from_scvi_model(model, "Unknown")
model.train(max_epochs=25, n_samples_per_label=100, accelerator="cpu")
labels = cells.obs.assign(label=model.predict())["label"][cells.obs_names.str.endswith("-q")]
labels.rename(lambda name: name.removesuffix("-q")).to_csv(sys.argv[3], header=False)
""",
    "singler": """
import sys, csv, h5py, singler
from scipy import sparse
def read(path):
    with h5py.File(path) as f:
        parts = [f["X"][name][:] for name in ("data", "indices", "indptr")]
        X = sparse.csr_matrix(tuple(parts), shape=f["X"].attrs["shape"]).toarray().T
        label = f["obs/label"] if "label" in f["obs"] else None
        names = label["categories"].asstr()[:][label["codes"][:]] if label else None
        return X, f["obs"][f["obs"].attrs["_index"]].asstr()[:], names
reference, _, labels = read(sys.argv[1])
query, ids, _ = read(sys.argv[2])
genes = [str(place) for place in range(len(query))]
found = singler.annotate_single(query, reference, list(labels), genes, genes,
                                train_args={"marker_method": "auc"})
csv.writer(open(sys.argv[3], "w")).writerows(zip(ids, found["best"]))
""",
    "singler_r": """
found <- SingleR::SingleR(query, reference, labels, de.method = "wilcox")$labels
""",
    "seurat_pca": """
suppressPackageStartupMessages(library(Seurat))
object <- function(values) {
  made <- SetAssayData(CreateSeuratObject(values), "data", as(values, "dgCMatrix"))
  VariableFeatures(made) <- rownames(made)
  RunPCA(ScaleData(made))
}
reference <- object(reference)
anchors <- FindTransferAnchors(reference, object(query), dims = 1:30)
found <- TransferData(anchors, labels, dims = 1:30)$predicted.id
""",
}
# Before and after what is called by hand in R: genes x cells, and the labels of the reference.
IN_R = """
paths <- commandArgs(TRUE)
read <- function(path) as.matrix(read.csv(path, row.names = 1, check.names = FALSE))
reference <- read(paste0(paths[1], ".csv"))
query <- read(paste0(paths[2], ".csv"))
labels <- readLines(paste0(paths[1], ".txt"))
names <- colnames(query)
%s
write.table(data.frame(names, found), paths[3], sep = ",", row.names = FALSE, col.names = FALSE)
"""
NOISE = {"scanvi": 0.05}  # cells that may differ; its samples are others

pytestmark = pytest.mark.rivals


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> PreparedPaths:
    folder = tmp_path_factory.mktemp("prepared")
    sources = []
    for seed, role in enumerate(("reference", "query")):
        cells = make_cells(300, 200, types=4, seed=seed)
        if role == "query":  # a cell that tools leave out, and that must come back
            counts = cells.X.toarray()
            counts[0] = np.arange(counts.shape[1]) % 15 == 0
            cells.X = sparse.csr_matrix(counts)
        cells.write_h5ad(folder / f"{role}.h5ad")
        sources.append(folder / f"{role}.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 150}}
    prepare_dataset(config, *sources, paths)
    return paths


def predictions_by(
    method: str, files: PreparedPaths, folder: Path, **given: str
) -> tuple[pd.DataFrame, dict]:
    """Predictions of a method of the registry, and its outcome.

    `given` may name another `script`, and what the user would have `provided`.
    """
    row = REGISTRY.loc[method]
    about = tomllib.loads((METHODS / "environments.toml").read_text())[row["environment"]]
    lock = METHODS / f"{row['environment']}.lock"
    output = {"predictions": folder / "p.parquet", "outcome": folder / "p.json"}
    run_method.main(
        SimpleNamespace(
            input=SimpleNamespace(
                reference=files.reference, query=files.query,
                script=given.get("script", str(SCRIPTS / row["script"])),
                lock=str(lock) if lock.exists() else None,
            ),
            output=SimpleNamespace(**output),
            log=[folder / "log"],
            threads=1,
            settings={
                "id": method, "environment": row["environment"], "missing": "",
                "provided": given.get("provided"),
                "environments": str(ENVIRONMENTS), "in_conda": False, "device": "cpu", "seed": 0,
                "limits": {"seconds": 1800, "memory_mb": 16_000},
                "r_packages": about.get("r", []), "debian": about.get("debian", []),
            },
        )
    )  # fmt: skip
    outcome = json.loads(output["outcome"].read_text())
    return read_predictions(output["predictions"]), outcome


def share_right(table: pd.DataFrame, files: PreparedPaths) -> float:
    truth = pd.read_parquet(files.truth).set_index("cell_id")["label"]
    return float((table.set_index("cell_id")["label"].reindex(truth.index) == truth).mean())


@pytest.mark.parametrize("method", TOOLS.index)
def test_tools_find_the_planted_types(method: str, files: PreparedPaths, tmp_path: Path) -> None:
    table, outcome = predictions_by(method, files, tmp_path)
    if "apt install" in outcome["reason"]:
        pytest.skip(outcome["reason"])
    assert outcome["reason"] == ""
    assert share_right(table, files) > 0.85


@pytest.mark.parametrize("method", BY_HAND)
def test_tools_say_what_they_say_when_called_by_hand(
    method: str, files: PreparedPaths, tmp_path: Path
) -> None:
    table, outcome = predictions_by(method, files, tmp_path)
    if "apt install" in outcome["reason"]:
        pytest.skip(outcome["reason"])
    assert outcome["reason"] == ""
    by_hand = called_by_hand(method, files, tmp_path)
    found = table.set_index("cell_id")["label"].reindex(by_hand.index)
    assert (found == by_hand).mean() > 0.99 - NOISE.get(method, 0)


def called_by_hand(method: str, files: PreparedPaths, folder: Path) -> pd.Series:
    """Labels of the cells of the query."""
    name, code, paths = (
        TOOLS["environment"][method],
        BY_HAND[method],
        [files.reference, files.query],
    )
    if TOOLS["runs"][method] == "R":
        command: list = ["Rscript", "-e", IN_R % code]
        paths = [as_text(path, folder) for path in paths]
    else:
        command = [python_of(name, METHODS / f"{name}.lock", ENVIRONMENTS), "-c", code]
    out = folder / "hand.csv"
    subprocess.run([*command, *paths, out], check=True, cwd=folder)
    return pd.read_csv(out, header=None, index_col=0, dtype=str).iloc[:, 0]


def as_text(path: Path, folder: Path) -> Path:
    """Cells as files that R reads by itself: expression (genes, cells) and the labels."""
    cells, place = Cells(path), folder / path.stem
    values = pd.DataFrame(cells.log_values.T.toarray(), cells.genes, cells.ids)
    values.to_csv(f"{place}.csv")
    if path.stem == "reference":
        Path(f"{place}.txt").write_text("".join(f"{label}\n" for label in cells.labels))
    return place


# ------------------------------------------------------------------------------ weights of the user

# Weights of the published formats, small and of chance, are made by the packages that made those.
MAKE = {
    "geneformer": """
import pickle, sys, json
import numpy as np, torch
from transformers import BertConfig, BertForMaskedLM
genes, folder = json.load(open(sys.argv[1])), sys.argv[2]
ids = {gene: f"ENSG{place:011d}" for place, gene in enumerate(genes)}
first = ["<pad>", "<mask>", "<cls>", "<eos>"] if "v2" in folder else ["<pad>", "<mask>"]
tokens = {name: code for code, name in enumerate([*first, *ids.values()])}
medians = {name: np.float64(1 + place % 3) for place, name in enumerate(ids.values())}
for name, content in (("token_dictionary_x", tokens), ("gene_median_dictionary_x", medians),
                      ("gene_name_id_dict_x", ids)):
    pickle.dump(content, open(f"{folder}/{name}.pkl", "wb"))
torch.manual_seed(0)
config = BertConfig(vocab_size=len(tokens), hidden_size=32, num_hidden_layers=2, pad_token_id=0,
                    num_attention_heads=2, intermediate_size=64, max_position_embeddings=128)
BertForMaskedLM(config).save_pretrained(folder)
""",
    "scbert": """
import sys, json
import torch
from performer_pytorch import PerformerLM
genes, folder = json.load(open(sys.argv[1])), sys.argv[2]
torch.manual_seed(0)
model = PerformerLM(num_tokens=7, dim=20, depth=2, max_seq_len=len(genes) + 1, heads=2,
                    dim_head=8, rotary_position_emb=False, attn_out_bias=True)
weights = {name: one for name, one in model.state_dict().items() if "proj_updater" not in name}
weights["performer.calls_since_last_redraw"] = torch.tensor(0)
torch.save({"epoch": 1, "model_state_dict": weights}, f"{folder}/panglao_pretrain.pth")
print(*genes, sep="\\n", file=open(f"{folder}/genes.txt", "w"))
""",
}
# what a network of chance needs to learn anything in the time of a test
SETTINGS = {
    "geneformer": {"RATE": 3e-3, "WARM_UP": 10},
    "langcell": {"RATE": 3e-3, "WARM_UP": 10},
    "scbert": {"RATE": 1e-2, "BATCH": 30, "AT_ONCE": 30, "EPOCHS": 15},
}


@pytest.mark.parametrize(
    ("method", "name"),
    [("geneformer", "v1"), ("geneformer", "v2"), ("langcell", "v1"), ("scbert", "any")],
)
def test_weights_of_the_published_format_are_loaded_and_learn(
    method: str, name: str, files: PreparedPaths, tmp_path: Path
) -> None:
    environment = REGISTRY["environment"][method]
    try:
        python = python_of(environment, METHODS / f"{environment}.lock", ENVIRONMENTS)
    except NotProvidedError as error:
        pytest.skip(str(error))
    weights = tmp_path / name
    weights.mkdir()
    genes = tmp_path / "genes.json"
    genes.write_text(json.dumps(list(map(str, Cells(files.reference).genes))))
    make = MAKE["scbert" if method == "scbert" else "geneformer"]
    subprocess.run([python, "-c", make, genes, weights], check=True)
    script = tmp_path / "run_it.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"import exchange\nimport {Path(REGISTRY['script'][method]).stem} as tool\n"
        f"vars(tool).update({SETTINGS[method]!r})\nexchange.run(tool.annotate)\n"
    )
    table, outcome = predictions_by(
        method, files, tmp_path, script=str(script), provided=str(weights)
    )
    assert outcome["reason"] == ""
    assert share_right(table, files) > 0.45  # of four labels
    _, outcome = predictions_by(method, files, tmp_path, provided=str(tmp_path / "nowhere"))
    assert outcome["reason"].startswith("weights not provided")

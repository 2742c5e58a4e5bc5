"""Twin of the slices of dorsolateral prefrontal cortex (DLPFC)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from plkd.errors import InputError
from plkd.simulation.design import stream
from plkd.simulation.spatial import draw_slices, pixels_of, slide_places
from plkd.utils.files import whole_file, write_json
from twins.common import (
    Truth,
    barcodes,
    cell_table,
    design_of,
    place_of,
    published_genes,
    with_second_genes,
    write_shared,
    write_text,
)
from twins.counts import DLPFC_LAYERS, DLPFC_SPOTS, scaled_down

MATRIX_URL = (
    "https://spatial-dlpfc.s3.us-east-2.amazonaws.com/h5/{slice}_filtered_feature_bc_matrix.h5"
)
_PILOT = (
    "https://raw.githubusercontent.com/LieberInstitute/HumanPilot/"
    "044446d6bd8fc154aa74f7be62ec67effb1ec376/10X"
)
LABELS_URL = f"{_PILOT}/barcode_level_layer_map.tsv"
POSITIONS_URL = f"{_PILOT}/{{slice}}/tissue_positions_list.txt"
SCALE_URL = f"{_PILOT}/{{slice}}/scalefactors_json.json"
LEAST_SPOTS = 3
UNLABELLED_SHARE = 0.05


def write_dlpfc(root: Path, n_cells: int, seed: int) -> Truth:
    """Write twelve 10x h5 files, positions of the spots, and one table of labels without header.

    Barcodes are those of the places on the slide, so they repeat between slices; symbols repeat;
    some spots have no label; slices of the second donor have no layers 1 and 2.
    """
    if n_cells < 10 * len(DLPFC_SPOTS) * LEAST_SPOTS:
        raise InputError(
            f"{n_cells} spots are too few for {len(DLPFC_SPOTS)} slices; ask for "
            f"{10 * len(DLPFC_SPOTS) * LEAST_SPOTS} or more"
        )
    labelled = scaled_down(
        {name: sum(spots[:-1]) for name, spots in DLPFC_SPOTS.items()}, n_cells, 1
    )
    numbers, unlabelled = {}, {}
    for name, spots in DLPFC_SPOTS.items():
        present = {layer: spots[i] for i, layer in enumerate(DLPFC_LAYERS) if spots[i]}
        numbers[name] = scaled_down(present, labelled[name], LEAST_SPOTS)
        unlabelled[name] = max(
            1, round(n_cells * spots[-1] / 47_329), round(labelled[name] * UNLABELLED_SHARE)
        )
        most = max(numbers[name], key=lambda layer: numbers[name][layer])
        numbers[name][most] += unlabelled[name]
    simulation = draw_slices(design_of("dlpfc", seed), numbers, seed=seed, depth=4000.0)
    rng = stream(seed, "dlpfc")
    genes = published_genes("human", seed, annotated_only=False)
    X = with_second_genes(simulation.cells.X, seed, "dlpfc")
    obs = simulation.cells.obs
    places = obs[["array_row", "array_col"]].to_numpy()
    slide = slide_places(1)
    on_slide = dict(zip(map(tuple, slide.tolist()), barcodes(len(slide), "visium"), strict=True))
    ids = np.array([f"{on_slide[tuple(place)]}-1" for place in places.tolist()], dtype=object)

    has_label = np.ones(len(obs), dtype=bool)
    for name in numbers:
        of_slice = obs["batch"] == name
        most = obs.loc[of_slice, "label"].value_counts().idxmax()
        here = np.flatnonzero((of_slice & (obs["label"] == most)).to_numpy())
        has_label[rng.choice(here, unlabelled[name], replace=False)] = False
    files: dict[str, Path] = {}
    for name in numbers:
        rows = np.flatnonzero((obs["batch"] == name).to_numpy())
        rows = rows[np.argsort(ids[rows])]
        url = MATRIX_URL.format(slice=name)
        files[url] = place_of(root, url)
        _write_10x_h5(files[url], X[rows], ids[rows], genes)
        files |= _write_places(root, name, on_slide, set(ids[rows]))
    labelled_obs, xy = obs[has_label], simulation.cells.obsm["spatial"][has_label]
    table = cell_table(
        ids[has_label],
        labelled_obs["label"],
        labelled_obs["batch"],
        file=labelled_obs["batch"].astype(str),
        x=xy[:, 0],
        y=xy[:, 1],
    )
    files[LABELS_URL] = place_of(root, LABELS_URL)
    write_text(
        files[LABELS_URL],
        ["\t".join(row) for row in zip(table.index, table["batch"], table["label"], strict=True)],
    )
    return Truth(
        name="dlpfc",
        cells={"rna": table},
        simulations={"rna": simulation},
        files={**files, **write_shared(root, "human", seed)},
        notes={"unlabelled": int((~has_label).sum())},
    )


def _write_places(
    root: Path, name: str, on_slide: dict[tuple[int, int], str], in_tissue: set[str]
) -> dict[str, Path]:
    """Barcode, in tissue, row, column, pixel row and column of all places; without header."""
    lines = []
    for (row, column), barcode in on_slide.items():
        x, y = pixels_of(np.array([[row, column]]))[0]
        one = f"{barcode}-1"
        lines.append(f"{one},{int(one in in_tissue)},{row},{column},{round(y)},{round(x)}")
    url, scale = POSITIONS_URL.format(slice=name), SCALE_URL.format(slice=name)
    write_text(place_of(root, url), lines)
    write_json(
        place_of(root, scale),
        {
            "spot_diameter_fullres": 96.4,
            "tissue_hires_scalef": 0.15,
            "fiducial_diameter_fullres": 144.6,
            "tissue_lowres_scalef": 0.045,
        },
    )
    return {url: place_of(root, url), scale: place_of(root, scale)}


def _write_10x_h5(path: Path, X: sparse.csr_matrix, ids: np.ndarray, genes: pd.DataFrame) -> None:
    """The file of Cell Ranger 3: the matrix by columns of genes x barcodes."""
    X = sparse.csr_matrix(X)  # rows are barcodes: the columns of the published matrix
    X.sort_indices()
    with whole_file(path) as temporary, h5py.File(temporary, "w") as store:
        store.attrs["chemistry_description"] = "Spatial 3' v1"
        store.attrs["filetype"] = "matrix"
        store.attrs["version"] = 2
        matrix = store.create_group("matrix")
        matrix["barcodes"] = ids.astype("S")
        matrix["data"] = X.data.astype(np.int32)
        matrix["indices"] = X.indices.astype(np.int64)
        matrix["indptr"] = X.indptr.astype(np.int64)
        matrix["shape"] = np.array([X.shape[1], X.shape[0]], dtype=np.int32)
        features = matrix.create_group("features")
        features["_all_tag_keys"] = np.array([b"genome"])
        features["id"] = genes["gene_id"].to_numpy().astype("S")
        features["name"] = genes["symbol"].to_numpy().astype("S")
        features["feature_type"] = np.full(len(genes), b"Gene Expression")
        features["genome"] = np.full(len(genes), b"GRCh38")

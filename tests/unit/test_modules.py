"""Groups of genes that go together in the reference, where no gene sets are at hand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import plkd
from plkd.errors import InputError
from plkd.pathways.mask import UNCOVERED, build_mask
from plkd.pathways.modules import gene_modules
from simulated import make_cells

N_GROUPS, PER_GROUP = 6, 15
GENES = [f"G{group}_{i}" for group in range(N_GROUPS) for i in range(PER_GROUP)]


def grouped(n_cells: int = 600, seed: int = 0) -> np.ndarray:
    """Cells (cells, genes) in which the genes of a group rise and fall together."""
    rng = np.random.default_rng(seed)
    levels = rng.gamma(2.0, 1.0, (n_cells, N_GROUPS)).repeat(PER_GROUP, axis=1)
    return np.maximum(levels + rng.normal(0, 0.3, levels.shape), 0).astype(np.float32)


def group_of(gene: str) -> str:
    return gene.split("_")[0]


def test_genes_that_rise_and_fall_together_are_a_module() -> None:
    modules = gene_modules(sparse.csr_matrix(grouped()), GENES)
    assert len(modules) == N_GROUPS
    for name, found in modules.items():
        assert name == ", ".join(found.genes[:3])
        groups = [group_of(gene) for gene in found.genes]
        # those in the middle are of one group, and all of it is there
        assert len(set(groups[:PER_GROUP])) == 1
        assert groups.count(groups[0]) == PER_GROUP
    assert {group_of(found.genes[0]) for found in modules.values()} == {
        group_of(gene) for gene in GENES
    }


def test_every_gene_that_varies_is_in_two_modules() -> None:
    cells = grouped()
    cells[:, 3] = 1.0
    modules = gene_modules(sparse.csr_matrix(cells), GENES)
    counts = {gene: sum(gene in one.genes for one in modules.values()) for gene in GENES}
    assert counts.pop(GENES[3]) == 0
    assert set(counts.values()) == {2}
    sizes = [len(one.genes) for one in modules.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_what_sets_batches_apart_puts_no_genes_together() -> None:
    """One gene of every group is high in one batch: they stay with their groups."""
    cells, batches = grouped(), np.repeat(["a", "b"], 300)
    shifted = np.arange(0, len(GENES), PER_GROUP)
    cells[np.ix_(batches == "b", shifted)] += 20

    def own(modules: dict) -> int:
        leading = dict.fromkeys(np.array(GENES)[shifted], 0)
        for one in modules.values():
            home = group_of(one.genes[0])
            for gene in leading:
                leading[gene] += gene in one.genes[:PER_GROUP] and group_of(gene) == home
        return sum(leading.values())

    assert own(gene_modules(sparse.csr_matrix(cells), GENES, batches)) == N_GROUPS
    assert own(gene_modules(sparse.csr_matrix(cells), GENES)) < N_GROUPS


def test_they_are_the_same_every_time() -> None:
    cells = sparse.csr_matrix(grouped())
    assert gene_modules(cells, GENES) == gene_modules(cells.copy(), GENES)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(1, 5), (5, 1), (40, 3), (2, 2)])
def test_of_little_there_are_few(n_cells: int, n_genes: int) -> None:
    rng = np.random.default_rng(0)
    cells = sparse.csr_matrix(rng.random((n_cells, n_genes)), dtype=np.float32)
    modules = gene_modules(cells, [f"G{i}" for i in range(n_genes)])
    assert len(modules) <= n_genes
    assert not gene_modules(sparse.csr_matrix(np.ones((5, 4), np.float32)), list("abcd"))


def test_a_mask_of_modules_is_one_of_gene_sets_without_enrichment() -> None:
    cells = grouped()
    cells[:, 3] = 1.0
    modules = gene_modules(sparse.csr_matrix(cells), GENES)
    mask = build_mask("modules", GENES, gene_sets=modules, uncovered_token=True)
    assert set(mask.tokens) == {*modules, UNCOVERED}
    assert mask.tokens[-1] == UNCOVERED
    for column, name in enumerate(mask.tokens[:-1]):
        members = mask.matrix[:, [column]].nonzero()[0]
        assert {GENES[i] for i in members} == set(modules[name].genes)
    assert list(mask.matrix[:, [len(modules)]].nonzero()[0]) == [3]
    assert mask.table["p_value"].isna().all()
    with pytest.raises(InputError, match="too few vary"):
        build_mask("modules", GENES, gene_sets={})


def zebrafish() -> ad.AnnData:
    """Cells whose genes are in no gene set at hand."""
    cells = make_cells(200, 120, seed=1)
    cells.var_names = [f"zf{i}" for i in range(cells.n_vars)]
    return cells


@pytest.mark.parametrize(
    ("asked", "gene_sets"),
    [({}, None), ({"mask": {"kind": "modules"}}, None), ({"mask": {"kind": "modules"}}, "unread")],
)
def test_training_without_gene_sets_groups_genes(
    asked: dict, gene_sets: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    short = {"min_steps": 5, "epochs": 1}
    model = plkd.train(
        zebrafish(),
        "cell_type",
        preset="fast",
        gene_sets=gene_sets,
        overrides={"teacher_training": short, "student_training": short, **asked},
        progress=False,
    )
    assert model.settings.mask.kind == "modules"
    assert all(name == UNCOVERED or name.startswith("zf") for name in model.teacher.tokens)
    assert ("do not fit" in caplog.text) == (not asked)
    assert ("gene sets are not used" in caplog.text) == (gene_sets is not None)

"""Tables 2 to 6 and Figures 4 to 7 of the paper, of the tables of all runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from plkd.evaluation.integration import SCORES as INTEGRATION
from plkd.evaluation.omics import SCORES as OMICS
from plkd.evaluation.paper import (
    CELL,
    OURS,
    ablation_of,
    beside,
    found_genes,
    found_table,
    reasons,
    with_expected,
)
from plkd.evaluation.spatial import SPATIAL_COLUMNS

WHOLE_PAIRS = ("Ma-2020", "Muto-2021")
"""Data sets of Table 4 in the paper, whose expression is named within itself too."""
ABLATED = {"PBMC": "10x-Multiome"}
"""The paper's ablation is of the gene expression of 10x-Multiome: the cells of PBMC."""


@dataclass(frozen=True)
class AboutDataset:
    """What the tables say of a data set: its name in the paper ("" for none), and what is measured.

    `modality` is RNA, ATAC, or RNA to ATAC.
    """

    paper_name: str
    modality: str

    @property
    def in_table2(self) -> bool:
        """Does it belong into Table 2 (annotation of expression), or into Table 4?"""
        return self.modality == "RNA" and self.paper_name not in WHOLE_PAIRS


@dataclass(frozen=True)
class RunTables:
    """Tables of all runs, each with `dataset`, `variant`, `seed`, `method` in front.

    Attributes
    ----------
    metrics, abundance, integration, omics, spatial
        As the rules of these names write them.
    key_genes
        Key genes of the Student's labels.
    imbalance
        `minor`, `ratio`, `f1` of the data sets that hold two labels; the draw is the seed.
    agreement
        `agreement` of both modalities.
    """

    metrics: pd.DataFrame
    abundance: pd.DataFrame
    integration: pd.DataFrame
    omics: pd.DataFrame
    spatial: pd.DataFrame
    key_genes: pd.DataFrame
    imbalance: pd.DataFrame
    agreement: pd.DataFrame


def paper_tables(
    runs: RunTables,
    numbers: Mapping[str, pd.DataFrame],
    about: Mapping[str, AboutDataset],
    methods: pd.DataFrame,
    chosen: Collection[str],
    variants: Sequence[str],
    ablated: Collection[str] = (),
    told: Mapping[tuple[str, str], str] | None = None,
    integrators: Collection[str] = (),
    told_of_spaces: Mapping[tuple[str, str], str] | None = None,
) -> dict[str, pd.DataFrame]:
    """Every table and figure of numbers, beside the paper's.

    Parameters
    ----------
    runs
        What was found.
    numbers
        What the paper says: `table2` to `table6`, `figure6`, `figure7`
        (:data:`plkd.evaluation.paper.NUMBER_COLUMNS`), `figure5` (`dataset`, `label`, `gene`).
    about
        Data sets by their names here.
    methods
        The paper's methods (:data:`plkd.evaluation.paper.METHOD_COLUMNS`).
    chosen
        Methods of this run that label cells, by their ids here.
    variants
        All variants; those named ``<variant>.<change>`` are ablations.
    ablated
        Data sets of the ablation.
    told
        Why a method could not run on a data set, by both names here.
    integrators, told_of_spaces
        The same for methods that put cells into one space, which may have the ids of others.

    Returns
    -------
    dict
        Of DataFrames with :data:`plkd.evaluation.paper.RESULT_COLUMNS`, but for `figure5`
        (:func:`plkd.evaluation.paper.found_genes`).
    """
    names = {name: one.paper_name for name, one in about.items()}
    ran = [names[name] or name for name in about]

    def named(told: Mapping[tuple[str, str], str] | None) -> dict[tuple[str, str], str]:
        return {(names[name] or name, method): one for (name, method), one in (told or {}).items()}

    compared = _Comparison(numbers, ran, methods, chosen, named(told))
    # of a method that does both, its id here is that of the one which labels cells
    own = methods["here"].where(methods["task"] == "integration", "")
    spaces = _Comparison(
        numbers, ran, methods.assign(here=own), [*OURS, *integrators], named(told_of_spaces)
    )

    def scored(scores: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
        return found_table(scores, measures, names, _cells)

    changes = ablation_of(variants)
    whole = runs.metrics[~runs.metrics["variant"].str.contains(".", regex=False)]
    plain = whole["dataset"].map({name: one.in_table2 for name, one in about.items()}).eq(True)
    changed = runs.metrics[
        runs.metrics["dataset"].isin(ablated)
        & runs.metrics["variant"].isin(changes)
        & runs.metrics["method"].isin(OURS)
    ]
    changed = changed.assign(
        change=[changes[variant][1] for variant in changed["variant"]],
        variant=[changes[variant][0] for variant in changed["variant"]],
    )
    modality = {name: one.modality for name, one in about.items()}
    of_ablation = {name: ABLATED.get(one, one) for name, one in names.items()}
    groups = runs.abundance[runs.abundance["method"].isin(OURS)]
    across = pd.concat(
        [
            found_table(
                whole[~plain], _ANNOTATION, names, lambda table: table["dataset"].map(modality)
            ),
            found_table(runs.agreement, ["agreement"], names, "agreement"),
        ]
    )
    genes = runs.key_genes.assign(
        dataset=runs.key_genes["dataset"].map(names).fillna("").astype(object)
    )
    return {
        "table2": compared("table2", found_table(whole[plain], _ANNOTATION, names)),
        "table3": spaces("table3", scored(runs.integration, INTEGRATION), integrators, "kbet"),
        "table4": compared("table4", across),
        "table5": compared(
            "table5",
            found_table(
                changed,
                ["accuracy", "adjusted_rand_index"],
                of_ablation,
                lambda table: table["change"],
            ),
        ),
        "table6": compared(
            "table6",
            found_table(
                groups,
                ["f1", "recall", "precision"],
                names,
                lambda table: table["abundance"],
            ),
        ),
        "figure4": compared(
            "figure4",
            found_table(
                runs.spatial, list(SPATIAL_COLUMNS)[6:], names, lambda table: table["slice"]
            ),
        ),
        "figure5": found_genes(numbers["figure5"], genes),
        "figure6": spaces("figure6", scored(runs.omics, OMICS), integrators, "overall"),
        "figure7": compared("figure7", found_table(runs.imbalance, ["f1"], names, _ratio)),
    }


@dataclass(frozen=True)
class _Comparison:
    """Puts what is found beside the paper's numbers, or else the reason why it is not there.

    Attributes
    ----------
    numbers, methods
        As for :func:`paper_tables`.
    datasets
        Those of the run, by their names in the paper.
    chosen, told
        Methods of the run by their ids here; why one could not run, by data set and method.
    """

    numbers: Mapping[str, pd.DataFrame]
    datasets: Collection[str]
    methods: pd.DataFrame
    chosen: Collection[str]
    told: Mapping[tuple[str, str], str]

    def __call__(
        self, name: str, found: pd.DataFrame, asked: Collection[str] = (), measure: str = ""
    ) -> pd.DataFrame:
        """Compare a table; of methods `asked` for there is a number of `measure` or a reason."""
        known = self.methods[self.methods["here"] != ""]
        ids = dict(zip(known["id"].astype(str), known["here"].astype(str), strict=True))
        datasets = found["dataset"].unique()
        cells = [(dataset, "", method, measure) for dataset in datasets for method in asked]
        paper = self.numbers.get(name, _NO_NUMBERS)
        paper = with_expected(paper, pd.DataFrame(cells, columns=CELL), ids)
        why = reasons(self.datasets, self.methods, self.chosen, self.told)
        return beside(paper, found, f"{name[:-1].capitalize()} {name[-1]}", why, ids)


_ANNOTATION = ["accuracy", "macro_f1"]
_NO_NUMBERS = pd.DataFrame(columns=["where", *CELL, "value"]).astype({"value": float})


def _cells(table: pd.DataFrame) -> pd.Series:
    """Which cells were scored; "" for all of them, as in the paper."""
    return table["cells"].where(table["cells"] != "all", "")


def _ratio(table: pd.DataFrame) -> pd.Series:
    return table["minor"].astype(str) + " " + table["ratio"].astype(str) + ":1"

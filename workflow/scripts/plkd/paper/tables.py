"""Tables 1 to 6 and Figures 3 to 7 of the paper, of the tables of all runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.evaluation.counts import PAPER as COUNTS
from plkd.evaluation.integration import INTEGRATION_COLUMNS, PAIRED
from plkd.evaluation.integration import SCORES as INTEGRATION
from plkd.evaluation.omics import SCORES as OMICS
from plkd.evaluation.spatial import SPATIAL_COLUMNS
from plkd.paper.numbers import (
    CELL,
    NO_DATASET,
    NO_TRUTH,
    OURS,
    VARIED,
    Place,
    ablation_of,
    beside,
    completed,
    found_genes,
    found_table,
    with_expected,
)
from plkd.utils.tables import Columns
from plkd.utils.text import listed

WHOLE_PAIRS = ("Ma-2020", "Muto-2021")
"""Data sets of Table 4 in the paper, whose expression is named within itself too."""
ABLATED = {"PBMC": "10x-Multiome"}
"""The paper's ablation is of the gene expression of 10x-Multiome: the cells of PBMC."""
RNA, CROSSING = "RNA", "RNA to ATAC"
SAME_CELLS = "RNA to ATAC of the same cells"
"""Where the accessibility is of the very cells of the reference: their labels have been seen."""
QUERY = "query"
FIGURE3_COLUMNS: Columns = {"picture": str, **INTEGRATION_COLUMNS}
"""Columns of the scores of the maps of Figure 3."""


@dataclass(frozen=True)
class AboutDataset:
    """What the tables say of a data set.

    Attributes
    ----------
    paper_name
        Its name in the paper, "" for none.
    modality
        What is measured: RNA, ATAC, or RNA to ATAC (:data:`SAME_CELLS` where the scores say so).
    has_truth
        Are there true labels of the query, by which it is scored?
    """

    paper_name: str
    modality: str
    has_truth: bool = True

    @property
    def in_table2(self) -> bool:
        """Does it belong into Table 2 (annotation of expression), or into Table 4?"""
        return self.modality == RNA and self.paper_name not in WHOLE_PAIRS


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
    draws
        All such draws that are asked for (:data:`plkd.paper.draws.DRAW_COLUMNS`).
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
    draws: pd.DataFrame
    agreement: pd.DataFrame


@dataclass(frozen=True)
class Others:
    """Methods of others in a run, which label cells or put them into one space.

    Attributes
    ----------
    key
        What names them in the configuration.
    ran
        Seeds with which a method was run on a data set, by both names here. What draws nothing is
        run with one, and its predictions are scored in the runs of every seed.
    told
        Why a method could not run on a data set, where it could not.
    """

    key: str
    ran: Mapping[tuple[str, str], Collection[int]]
    told: Mapping[tuple[str, str], str]

    def of(self, dataset: str) -> list[str]:
        """Ids of the methods that were asked for on a data set."""
        return [method for name, method in self.ran if name == dataset]

    def true_seeds(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Scores without those that repeat a method's for seeds with which it was not run."""
        names = zip(scores["dataset"], scores["method"], scores["seed"], strict=True)
        kept = [seed in self.ran.get((name, method), (seed,)) for name, method, seed in names]
        return scores[np.array(kept, dtype=bool)]


def paper_tables(
    runs: RunTables,
    numbers: Mapping[str, pd.DataFrame],
    about: Mapping[str, AboutDataset],
    methods: pd.DataFrame,
    annotators: Others,
    integrators: Others,
    variants: Sequence[str],
    ablated: Collection[str] = (),
) -> dict[str, pd.DataFrame]:
    """Every table and figure of numbers, beside the paper's.

    Parameters
    ----------
    runs
        What was found.
    numbers
        What the paper says: `table2` to `table6`, `figure6`, `figure7`
        (:data:`plkd.paper.numbers.NUMBER_COLUMNS`), `figure5` (`dataset`, `label`, `gene`).
    about
        Data sets by their names here.
    methods
        The paper's methods (:data:`plkd.paper.numbers.METHOD_COLUMNS`).
    annotators, integrators
        Methods that label cells, and those that put them into one space; ids may be of both.
    variants
        All variants; those named ``<variant>.<change>`` are ablations.
    ablated
        Data sets of the ablation.

    Returns
    -------
    dict
        Of DataFrames with :data:`plkd.paper.numbers.RESULT_COLUMNS`, but for `figure5`
        (:data:`plkd.paper.numbers.GENE_COLUMNS`).

    Raises
    ------
    InputError
        If two data sets have one name of the paper and one modality.
    """
    about = with_same_cells(about, runs.omics)
    names = {name: one.paper_name or name for name, one in about.items()}
    about = _in_tables(about)
    unscored = {name for name, one in about.items() if not one.has_truth}
    whole_variants = [name for name in variants if "." not in name]
    # of a method that does both, its id here is that of the one which labels cells
    own = methods["here"].where(methods["task"] == "integration", "")
    labels = _Comparison(
        numbers, {names[name] for name in about}, unscored, whole_variants, _ids(methods),
        annotators,
    )  # fmt: skip
    spaces = replace(labels, ids=_ids(methods.assign(here=own)), others=integrators)

    places = places_of(about)
    plain = places_of({name: one for name, one in about.items() if one.in_table2})
    modal = {name: one for name, one in about.items() if not one.in_table2}
    across = places_of(modal, always=True)
    metrics = annotators.true_seeds(runs.metrics)
    whole = metrics[~metrics["variant"].str.contains(".", regex=False)]

    changes = ablation_of(variants)
    changed = runs.metrics[
        runs.metrics["variant"].isin(changes) & runs.metrics["method"].isin(OURS)
    ]
    changed = changed.assign(
        change=[changes[variant][1] for variant in changed["variant"]],
        variant=[changes[variant][0] for variant in changed["variant"]],
    )
    of_ablation = {name: _for_ablation(name, one) for name, one in about.items()}
    changeable = places_of({name: of_ablation[name] for name in ablated if name in about})
    ablations = replace(
        labels,
        datasets={one.paper_name or name for name, one in of_ablation.items()},
        missing="its gene expression, the data set PBMC, is not among `datasets`",
    )

    mixed = places if integrators.ran else {}
    joint = joint_places(about)
    draws = zip(runs.draws["dataset"], _ratio(runs.draws), strict=True)
    why_not_drawn = dict(zip(draws, runs.draws["reason"], strict=True))
    drawn = {name: places[name] for name in places if name in {*runs.draws["dataset"], *unscored}}
    groups = {*zip(runs.abundance["dataset"], runs.abundance["abundance"], strict=True)}
    abundance = runs.abundance[runs.abundance["method"].isin(OURS)]
    genes = runs.key_genes.assign(
        dataset=runs.key_genes["dataset"].map(names).fillna("").astype(object)
    )
    pairs = {name: Place(names[name]) for name in about}

    def not_changed(_: str, change: str, variant: str) -> str:
        if change not in {one for _, one in changes.values()}:
            return "no variant of this run changes this"
        if variant and (variant, change) not in changes.values():
            return f"this run has no variant `{variant}.{change}`"
        return ""

    def not_held(dataset: str, group: str, _: str) -> str:
        ran = dataset in {name for name, _ in groups}
        lacks = ran and (dataset, group) not in groups
        return "no type of the query is of this abundance" if lacks else ""

    def not_drawn(dataset: str, draw: str, _: str) -> str:
        return why_not_drawn.get((dataset, draw), "`imbalance` does not draw this")

    return {
        "table2": labels(
            "table2", found_table(whole, _ANNOTATION, plain), plain, asked=_ANNOTATION
        ),
        "table3": spaces(
            "table3",
            found_table(integrators.true_seeds(runs.integration), INTEGRATION, mixed, _cells),
            mixed,
            asked=INTEGRATION,
            absent="no method of integration is asked for (`integration`)",
        ),
        "table4": labels(
            "table4",
            pd.concat(
                [
                    found_table(whole, _ANNOTATION, across),
                    found_table(runs.agreement, ["agreement"], pairs, _agreement),
                ]
            ),
            across,
            asked=_ANNOTATION,
            absent="no data set of this run is of this modality",
        ),
        "table5": ablations(
            "table5",
            found_table(
                changed, ["accuracy", "adjusted_rand_index"], changeable, lambda one: one["change"]
            ),
            changeable,
            absent="the data set is not among `ablated`",
            outside=not_changed,
        ),
        "table6": labels(
            "table6",
            found_table(
                abundance, ["f1", "recall", "precision"], places, lambda one: one["abundance"]
            ),
            places,
            outside=not_held,
        ),
        "figure4": labels(
            "figure4",
            found_table(
                annotators.true_seeds(runs.spatial),
                list(SPATIAL_COLUMNS)[6:],
                places,
                lambda one: one["slice"],
            ),
            places,
        ),
        "figure5": found_genes(numbers["figure5"], genes, set(names.values())),
        "figure6": spaces(
            "figure6",
            found_table(
                integrators.true_seeds(without_parts(runs.omics, joint)),
                OMICS,
                joint,
                lambda one: _cells(one).where(one["dataset"].map(_modalities(joint)) == "", ""),
            ),
            joint,
            asked=OMICS,
            absent="no expression names accessibility in this data set",
        ),
        # it is drawn with the first variant alone
        "figure7": replace(labels, variants=whole_variants[:1])(
            "figure7",
            found_table(runs.imbalance, ["f1"], drawn, _ratio),
            drawn,
            absent="`imbalance` draws nothing from this data set",
            outside=not_drawn,
        ),
    }


def places_of(about: Mapping[str, AboutDataset], always: bool = False) -> dict[str, Place]:
    """Where data sets stand in a table: by the paper's name, and modality where several share it.

    Parameters
    ----------
    about
        The data sets of the table, by their names here.
    always
        Name the modality of all of them.

    Raises
    ------
    InputError
        If two would have the same place.
    """
    n_of = Counter(one.paper_name for one in about.values() if one.paper_name)
    places = {
        name: Place(
            one.paper_name or name, one.modality if always or n_of[one.paper_name] > 1 else ""
        )
        for name, one in about.items()
    }
    for place, n in Counter(places.values()).items():
        if n > 1:
            same = [name for name, one in places.items() if one == place]
            raise InputError(
                f"the data sets {listed(same)} are all '{place.dataset}' of the paper "
                f"(`paper_name`) and of one modality ({about[same[0]].modality}): their numbers "
                "would be one. Leave `paper_name` out of all but one."
            )
    return places


def with_same_cells(
    about: Mapping[str, AboutDataset], omics: pd.DataFrame
) -> dict[str, AboutDataset]:
    """Tell data sets that go from expression to accessibility of the same cells from others.

    Parameters
    ----------
    about
        Data sets by their names here.
    omics
        Scores of all runs (:data:`plkd.evaluation.omics.OMICS_COLUMNS`), whose `cells` say it.
    """
    twice = set(omics["dataset"][omics["cells"] == PAIRED]) if "cells" in omics else set()
    return {
        name: replace(one, modality=SAME_CELLS)
        if name in twice and one.modality == CROSSING
        else one
        for name, one in about.items()
    }


def joint_places(about: Mapping[str, AboutDataset]) -> dict[str, Place]:
    """Where data sets stand in Figure 6: all cells of both modalities, and cells held out.

    Of a name that has both, all cells are those of the data set of the same cells, and `query` is
    of the one whose accessibility is of other cells.
    """
    same, other = (
        {name: one for name, one in about.items() if one.modality == modality}
        for modality in (SAME_CELLS, CROSSING)
    )
    whole = places_of(same)
    shared = {place.dataset for place in whole.values()}
    apart = {
        name: place._replace(modality=QUERY) if place.dataset in shared else place
        for name, place in places_of(other).items()
    }
    return apart | whole  # first what has but a part of a name's conditions


def without_parts(omics: pd.DataFrame, joint: Mapping[str, Place]) -> pd.DataFrame:
    """Scores without those of all cells of a data set of which the query alone belongs here."""
    query_alone = omics["dataset"].map(_modalities(joint)) == QUERY
    return omics[~query_alone | (omics["cells"] == QUERY)] if query_alone.any() else omics


def counts_beside(
    counts: pd.DataFrame, paper: pd.DataFrame, about: Mapping[str, AboutDataset]
) -> pd.DataFrame:
    """Table 1: every data set of the paper and of this run, with what differs.

    Parameters
    ----------
    counts
        From :func:`plkd.evaluation.counts.counts_table`, all of it texts.
    paper
        `dataset`, `cells`, `types`, `batches`, as texts.
    about
        Data sets by their names here.

    Returns
    -------
    DataFrame
        `dataset` (by the paper), `here` (its name here), the other columns of `counts`, behind each
        count of the paper the `.. difference` (here minus paper), and `note`: why there is nothing,
        or what a number is of.
    """
    said = paper.set_index("dataset")[list(COUNTS)]
    paper_name = {name: one.paper_name for name, one in about.items()}
    renamed = counts.rename(columns={"dataset": "here"})
    ran = [dict(zip(renamed.columns, row, strict=True)) for row in renamed.to_numpy()]
    rows = []
    for name in dict.fromkeys([*said.index, *(paper_name.get(row["here"], "") for row in ran)]):
        found = [row for row in ran if paper_name.get(row["here"], "") == name]
        if not found:
            given = {f"{one} in the paper": said.loc[name, one] for one in COUNTS}
            rows.append({"dataset": name, **given, "note": NO_DATASET})
        measured = {
            one: about[one].modality for one in (row["here"] for row in found) if one in about
        }
        joint = [row["cells"] for row in found if measured.get(row["here"]) == CROSSING]
        for row in found:
            modality = measured.get(row["here"], "")
            part = name and len(found) > 1 and modality in (RNA, "ATAC")
            note = f"{modality} alone" if part else ""
            if name and modality == CROSSING and int(row["cells"]) < max(map(int, joint)):
                note = "a part of the cells, other ones in either modality"
            rows.append({**row, "dataset": name or row["here"], "note": note})
    order = ["dataset", "here"]
    for column in counts.columns.drop("dataset"):
        order += [column]
        if column.endswith(" in the paper"):
            count = column.removesuffix(" in the paper")
            order += [f"{count} difference"]
            for row in rows:
                row[f"{count} difference"] = _difference(row.get(count, ""), row[column])
    return pd.DataFrame(rows, columns=[*order, "note"]).fillna("")


def map_scores(
    integration: pd.DataFrame, pictures: Mapping[tuple[str, str, int], str]
) -> pd.DataFrame:
    """What the maps of Figure 3 show, as numbers: the scores of every embedding that is drawn.

    Parameters
    ----------
    integration
        Scores of all runs (:data:`plkd.evaluation.integration.INTEGRATION_COLUMNS`).
    pictures
        File of the maps of a run, by data set, variant and seed.

    Returns
    -------
    DataFrame
        Columns of :data:`FIGURE3_COLUMNS`: the rows of all cells.
    """
    run = zip(integration["dataset"], integration["variant"], integration["seed"], strict=True)
    table = integration.assign(picture=[pictures.get(names, "") for names in run])
    shown = (table["picture"] != "") & (table["cells"] == "all")
    return table.loc[shown, list(FIGURE3_COLUMNS)]


@dataclass(frozen=True)
class _Comparison:
    """Puts what is found beside the paper's numbers, or else the reason why it is not there.

    Attributes
    ----------
    numbers
        As for :func:`paper_tables`.
    datasets
        Those of the run, by their names in the paper.
    unscored
        Those without true labels, by their names here.
    variants
        Variants of our models that the tables have.
    ids
        Method of the paper -> its id here, where that is another one.
    others
        Methods of others in the run.
    missing
        What to say of a data set that is not in the run.
    """

    numbers: Mapping[str, pd.DataFrame]
    datasets: Collection[str]
    unscored: Collection[str]
    variants: Sequence[str]
    ids: Mapping[str, str]
    others: Others
    missing: str = NO_DATASET

    def __call__(
        self,
        name: str,
        found: pd.DataFrame,
        places: Mapping[str, Place],
        *,
        asked: Sequence[str] = (),
        absent: str = "nothing of this data set belongs here",
        outside: Callable[[str, str, str], str] = lambda *cell: "",
    ) -> pd.DataFrame:
        """Compare a table.

        Parameters
        ----------
        name
            `table2` and so on.
        found
            What was found, columns :data:`plkd.paper.numbers.FOUND`.
        places
            Where the data sets of the run stand that belong into the table.
        asked
            Measures of which every method has a number or a reason on every data set of the run.
        absent
            What to say of a data set of the run that does not belong into the table.
        outside
            Says of a data set, a condition without what tells it from others, and a variant ("" for
            any) why the run has nothing of it; "" if it should have.

        Returns
        -------
        DataFrame
            Columns of :data:`plkd.paper.numbers.RESULT_COLUMNS`: every method has a row in every
            column of the table, with a number or a reason.
        """
        heads = list(zip(found["dataset"], found["condition"], strict=True))
        heads += [
            (place.dataset, place.modality)
            for here, place in places.items()
            if here not in self.unscored
        ]
        ran = {
            (*cell, any_or_one)
            for *cell, variant in found[[*CELL[:3], "variant"]].itertuples(index=False, name=None)
            for any_or_one in ("", variant)
        }

        def where(dataset: str, condition: str) -> tuple[str, str] | None:
            """The data set here, and the condition without what tells it from others."""
            for here, place in places.items():
                within = place.within(dataset, condition)
                if within is not None:
                    return here, within
            return None

        def why(dataset: str, condition: str, method: str, variant: str = "") -> str:
            if dataset not in self.datasets:
                return self.missing
            if condition == AGREEMENT and method not in OURS:
                return "this is asked of our models alone"
            place = where(dataset, condition)
            if place is None:
                return absent
            here, within = place
            if here in self.unscored:
                return NO_TRUTH
            if reason := outside(here, within, variant):
                return reason
            if (dataset, condition, method, variant) in ran:
                return "this score is not defined for these cells"
            if self.others.told.get((here, method)):
                return self.others.told[here, method]
            if method not in (*VARIED, *self.others.of(here)):
                return f"not among `{self.others.key}` of the configuration"
            return "it gave no result on this data set"

        cells = [
            (*head, method, measure)
            for head in dict.fromkeys(heads)
            if (place := where(*head)) is not None
            for method, measure in product([*OURS, *self.others.of(place[0])], asked)
        ]
        paper = self.numbers.get(name, _NO_NUMBERS)
        paper = with_expected(paper, pd.DataFrame(cells, columns=CELL, dtype=object), self.ids)
        table = beside(paper, found, f"{name[:-1].capitalize()} {name[-1]}", why, self.ids)
        return completed(table, self.variants, why)


AGREEMENT = "agreement"
"""The condition of Table 4 that is of both modalities."""
_ANNOTATION = ["accuracy", "macro_f1"]
_NO_NUMBERS = pd.DataFrame(columns=["where", *CELL, "value"]).astype({"value": float})


def _ids(methods: pd.DataFrame) -> dict[str, str]:
    known = methods[methods["here"] != ""]
    return dict(zip(known["id"].astype(str), known["here"].astype(str), strict=True))


def _in_tables(about: Mapping[str, AboutDataset]) -> dict[str, AboutDataset]:
    """Data sets that are scored, and of the paper's those that lack true labels.

    Of these one only where no other of its name and modality has the numbers.
    """
    scored = {name: one for name, one in about.items() if one.has_truth}
    taken = {(one.paper_name, one.modality) for one in scored.values()}
    unscored = {}
    for name, one in about.items():
        place = (one.paper_name, one.modality)
        if not one.has_truth and one.paper_name and place not in taken:
            unscored[name] = one
            taken.add(place)
    return {**scored, **unscored}


def _for_ablation(name: str, one: AboutDataset) -> AboutDataset:
    """What a data set is in the ablation, where the paper has a name for expression alone."""
    if one.paper_name in ABLATED:
        return replace(one, paper_name=ABLATED[one.paper_name])
    return replace(one, paper_name="") if one.paper_name in ABLATED.values() else one


def _difference(here: str, paper: str) -> str:
    """Here minus paper, "" where one has no number; "9631 x 2" is a product.

    >>> _difference("19262", "9631 x 2"), _difference("12", "13"), _difference("", "5")
    ('0', '-1', '')
    """
    if not here or not paper:
        return ""
    return str(int(here) - prod(map(int, paper.split(" x "))))


def _cells(table: pd.DataFrame) -> pd.Series:
    """Which cells were scored; "" for all of them, as in the paper."""
    return table["cells"].where(table["cells"] != "all", "")


def _modalities(places: Mapping[str, Place]) -> dict[str, str]:
    return {name: place.modality for name, place in places.items()}


def _ratio(table: pd.DataFrame) -> pd.Series:
    return table["minor"].astype(str) + " " + table["ratio"].astype(str) + ":1"


def _agreement(table: pd.DataFrame) -> pd.Series:
    return pd.Series(AGREEMENT, table.index)

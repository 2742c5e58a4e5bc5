"""Put every number of the paper beside what the runs have found: tables, figures and a page."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from plkd.evaluation.costs import cost_table, costs_of_runs
from plkd.evaluation.counts import PAPER_COLUMNS
from plkd.evaluation.integration import INTEGRATION_COLUMNS
from plkd.evaluation.omics import OMICS_COLUMNS
from plkd.evaluation.spatial import SPATIAL_COLUMNS
from plkd.evaluation.tables import ABUNDANCE_COLUMNS, METRIC_COLUMNS, PER_LABEL_COLUMNS
from plkd.figures.paper import (
    imbalance_lines,
    overall_scores,
    plot_imbalance,
    plot_overall_scores,
)
from plkd.figures.style import save_figure, style
from plkd.interpret.key_genes import KEY_GENE_COLUMNS
from plkd.model.trained_model import load_model
from plkd.paper.claims import CLAIM_COLUMNS, check_claims
from plkd.paper.draws import DRAW_COLUMNS
from plkd.paper.efficiency import efficiency_table
from plkd.paper.numbers import METHOD_COLUMNS, NUMBER_COLUMNS, agreement
from plkd.paper.page import INTRODUCTION, paper_sections, write_page
from plkd.paper.tables import (
    AboutDataset,
    Others,
    RunTables,
    counts_beside,
    map_scores,
    paper_tables,
)
from plkd.prediction.table import read_predictions
from plkd.utils.files import copy_file, read_json, whole_file
from plkd.utils.logs import run_script
from plkd.utils.tables import Columns, read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

# What a rule writes, and of the paper what stands in a file of the same name.
TABLES = {
    "metrics": (METRIC_COLUMNS, "evaluate"),
    "abundance": (ABUNDANCE_COLUMNS, "evaluate"),
    "integration": (INTEGRATION_COLUMNS, "integration"),
    "omics": (OMICS_COLUMNS, "omics"),
    "spatial": (SPATIAL_COLUMNS, "spatial_scores"),
    "key_genes": (KEY_GENE_COLUMNS, "key_genes"),
    "imbalance": (PER_LABEL_COLUMNS, "evaluate"),
}
IMBALANCE = ("dataset", "variant", "seed", "minor", "ratio")
SAID = ("table2", "table3", "table4", "table5", "table6", "figure6", "figure7")
OF_RUNS = ("figure3", "figure4", "figure5")


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params

    def gathered(kind: str) -> pd.DataFrame:
        """Tables of all runs, with the names of the runs."""
        columns, rule = TABLES[kind]
        return stacked(
            (read_tsv(path, columns, made_by=rule).assign(**dict(run))
             for path, run in runs_of(kind)), columns,
        )  # fmt: skip

    def runs_of(kind: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return zip(given[kind], params.runs[kind], strict=True)

    imbalance = gathered("imbalance").reindex(columns=[*IMBALANCE, *PER_LABEL_COLUMNS])
    imbalance = imbalance[imbalance["label"] == imbalance["minor"]]
    runs = RunTables(
        **{kind: gathered(kind) for kind in TABLES if kind != "imbalance"},
        imbalance=imbalance,
        draws=read_tsv(given.draws, DRAW_COLUMNS, made_by="imbalanced_draws"),
        agreement=agreements(params.pairs),
    )
    methods = read_tsv(given.paper_methods, METHOD_COLUMNS)
    of_paper = {row.here or row.id: row.name_ for row in methods.rename(
        columns={"name": "name_"}).itertuples()}  # fmt: skip
    names = {**of_paper, **params.methods}
    about = {
        name: AboutDataset(**dict(one), has_truth=name in params.evaluated)
        for name, one in params.about.items()
    }
    numbers = {name: read_tsv(given[name], NUMBER_COLUMNS) for name in SAID}
    numbers["figure5"] = read_tsv(given.figure5, dict.fromkeys(("dataset", "label", "gene"), str))
    outcomes = {
        kind: {
            (run["dataset"], run["method"], run["seed"]): read_json(path, made_by=rule)["reason"]
            for path, run in runs_of(kind)
        }
        for kind, rule in (("outcomes", "method"), ("outcomes_of_integration", "integrate"))
    }
    annotators = others("methods", params.annotators, outcomes["outcomes"])
    of_spaces = params.runs["outcomes_of_integration"]
    integrators = others("integration", of_spaces, outcomes["outcomes_of_integration"])
    tables = paper_tables(
        runs, numbers, about, methods, annotators, integrators, params.variants, params.ablated,
    )  # fmt: skip
    costs = cost_table(costs_of_runs(params.steps))
    of_paper = read_tsv(given.parameters, {"method": str, "value": float})
    tables["efficiency"] = efficiency_table(costs, of_paper)
    variants = [variant for variant in params.variants if "." not in variant]
    weights = {run["variant"]: n_weights(Path(path).parent) for path, run in runs_of("models")}
    metrics = runs.metrics
    tables["claims"] = check_claims(
        read_tsv(given.claims, CLAIM_COLUMNS), tables, variants, weights,
        metrics[metrics["method"] == "student"],
    )  # fmt: skip
    counts = read_tsv(given.datasets, {"dataset": str}, others=str, made_by="counts_table")
    tables["table1"] = counts_beside(counts, read_tsv(given.table1, PAPER_COLUMNS), about)
    pictures = {figure: copied(snakemake, figure) for figure in OF_RUNS}
    shown = {
        (run["dataset"], run["variant"], run["seed"]): Path(path)
        .relative_to(Path(snakemake.output.page).parent)
        .as_posix()
        for path, run in zip(pictures["figure3"].values(), params.runs["figure3"], strict=True)
    }
    tables["figure3"] = map_scores(runs.integration, shown)
    for name, table in tables.items():
        write_tsv(table, snakemake.output[name])

    with style():
        overall = overall_scores(tables["figure6"])
        save_figure(plot_overall_scores(overall, names), *snakemake.output.overall_scores)
        lines = imbalance_lines(tables["figure7"], variants[0])
        save_figure(plot_imbalance(lines), *snakemake.output.imbalance_lines)
    pictures["figure6"] = {"overall scores": snakemake.output.overall_scores[0]}
    pictures["figure7"] = {f"the Student of {variants[0]}": snakemake.output.imbalance_lines[0]}
    write_page(paper_sections(tables, pictures, names), snakemake.output.page, INTRODUCTION)


def others(
    key: str, ran: Iterable[Mapping[str, Any]], reasons: Mapping[tuple[str, str, int], str]
) -> Others:
    """Methods of others by the names of their runs, and why those that gave nothing did not."""
    seeds, told = defaultdict(set), {}
    for run in ran:
        method = (run["dataset"], run["method"])
        seeds[method].add(run["seed"])
        if reason := reasons.get((*method, run["seed"])):
            told[method] = reason
    return Others(key, seeds, told)


def copied(snakemake, figure: str) -> dict[str, str]:
    """Put the figures of runs beside the tables: caption -> PNG file."""
    found = {}
    for suffix in ("pdf", "png"):
        name = f"{figure}_{suffix}"
        files = zip(
            snakemake.params.runs[figure], snakemake.input[name], snakemake.output[name],
            strict=True,
        )  # fmt: skip
        for run, source, place in files:
            with whole_file(place) as temporary:
                copy_file(source, temporary)
            found[f"{run['dataset']}, variant {run['variant']}"] = place
    return found


def stacked(tables: Iterable[pd.DataFrame], columns: Columns) -> pd.DataFrame:
    """Tables one below the other; of none, an empty one with all columns."""
    listed = list(tables)
    if listed:
        return pd.concat(listed, ignore_index=True)
    return pd.DataFrame(
        columns=list(dict.fromkeys([*columns, "dataset", "variant", "seed", "method"]))
    )


def n_weights(folder: Path) -> tuple[int, int, int]:
    """Weights of the Teacher, as the paper counts and as they are stored, and of the Student."""
    model = load_model(folder)
    teacher, student = (model.require(name).network for name in ("teacher", "student"))
    stored = [sum(one.numel() for one in part.parameters()) for part in (teacher, student)]
    return teacher.dense_parameter_count(), *stored


def agreements(pairs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """How often both modalities of the same cells get the same label, by our models."""
    rows = []
    for pair in pairs:
        both = [read_predictions(path, made_by="predict") for path in pair["predictions"]]
        names = {name: pair[name] for name in ("dataset", "variant", "seed", "method")}
        rows.append({**names, "agreement": agreement(*both)})
    return stacked([pd.DataFrame(rows)] if rows else [], {"agreement": float})


if __name__ == "__main__":
    run_script(main, snakemake)

"""Gather the scores and costs of all runs into the benchmark's tables, figures and page."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.comparison import (
    LEAST_CELLS,
    by_entry,
    choice_table,
    compare_over_both,
    mean_ranks,
    trust_table,
)
from plkd.evaluation.costs import cost_of_outcome, cost_table, costs_of_runs
from plkd.evaluation.resampling import RESAMPLED_COLUMNS
from plkd.evaluation.tables import (
    BATCH_COLUMNS,
    METRIC_COLUMNS,
    PER_LABEL_COLUMNS,
    overall,
    summarise,
)
from plkd.figures.benchmark import entries, plot_benchmark
from plkd.figures.benchmark_page import Section, benchmark_page, interval
from plkd.figures.choice import plot_choice, plot_f1_map, plot_ranks
from plkd.figures.style import save_figure, style
from plkd.pipeline.methods import controls_of, read_registry
from plkd.utils.files import whole_file
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

# Columns of the page of which less is better.
COSTS = ("processor s", "peak MB", "training s", "prediction s", "all s", "parameters")
ERRORS = ("calibration error",)


def main(snakemake) -> None:
    output = snakemake.output
    methods = read_registry(snakemake.input.methods)
    controls = controls_of(methods)
    runs = gathered(snakemake, "metrics", METRIC_COLUMNS)
    costs = costs_of(snakemake)
    write_tsv(runs, output.annotation)
    write_tsv(summarise(runs, controls), output.summary)
    write_tsv(overall(runs[~runs["method"].isin(controls)]), output.overall)
    write_tsv(costs, output.costs)

    # below, our models of several variants are methods of their own, and controls are no rivals
    names, kinds = entries(runs[~runs["method"].isin(controls)], methods)
    tables = {
        name: by_entry(table, names, controls)
        for name, table in {
            "metrics": runs,
            "resampled": gathered(snakemake, "resampled", RESAMPLED_COLUMNS),
            "per_label": gathered(snakemake, "per_label", PER_LABEL_COLUMNS),
            "batches": gathered(snakemake, "batches", BATCH_COLUMNS),
            "costs": costs,
        }.items()
    }
    against = min(names, key=lambda entry: kinds[entry] != "ours")  # the first of ours
    comparison = compare_over_both(tables["metrics"], tables["batches"], against)
    ranks = mean_ranks(tables["metrics"])
    choice = choice_table(tables["metrics"], tables["resampled"], tables["costs"])
    trust = trust_table(tables["metrics"])
    write_tsv(trust, output.trust)
    write_tsv(comparison, output.comparison)
    write_tsv(ranks, output.ranks)
    write_tsv(choice, output.choice, digits=EXACT)
    labels = {method: names[method] for method in choice["method"] if choice_has(choice, method)}
    ranks_of_f1 = ranks[ranks["score"] == "macro_f1"]
    with style():
        figures = {
            "annotation": plot_benchmark(runs, methods),
            "choice": plot_choice(choice, names, kinds),
            "ranks": plot_ranks(ranks_of_f1, names),
            "f1_map": plot_f1_map(tables["per_label"], labels),
        }
        for name, figure in figures.items():
            save_figure(figure, output[f"{name}_png"], output[f"{name}_pdf"])
        page = page_of(choice, comparison, trust, tables, methods, names, kinds, figures)
    with whole_file(output.page) as temporary:
        temporary.write_text(page, encoding="utf-8")


def choice_has(choice: pd.DataFrame, method: str) -> bool:
    return bool(choice.set_index("method")["macro_f1"].notna()[method])


def gathered(snakemake, name: str, columns) -> pd.DataFrame:
    """A table of every run, with the names of the run in front."""
    tables = []
    for run, path in zip(snakemake.params.runs, snakemake.input[name], strict=True):
        table = read_tsv(path, columns, made_by="evaluate")
        tables.append(table.assign(**{**run, "seed": int(run["seed"])}))
    return pd.concat(tables, ignore_index=True)


def costs_of(snakemake) -> pd.DataFrame:
    """What every method took; ours by what their steps measured of themselves."""
    rows = costs_of_runs(snakemake.params.steps)
    for names, path in zip(snakemake.params.outcomes, snakemake.input.outcomes, strict=True):
        rows.append({**names, "variant": "", **cost_of_outcome(path)})
    return cost_table(rows)


def page_of(choice, comparison, trust, tables, methods, names, kinds, figures) -> str:
    named = {names[entry]: kind for entry, kind in kinds.items()}
    metrics = tables["metrics"]
    n_transfers = metrics["dataset"].nunique()
    shown = pd.DataFrame(
        {
            "method": choice["method"].map(names),
            "macro F1": choice["macro_f1"],
            "95 % of draws": interval(
                choice["macro_f1"], choice["macro_f1_lower"], choice["macro_f1_upper"]
            ),
            "accuracy": choice["accuracy"],
            "chance to be best": choice["share_best"],
            "processor s": choice["cpu_seconds"],
            "peak MB": choice["peak_mb"],
            "peak MB of GPUs": choice["peak_gpu_mb"],
            "calibration error": choice["calibration_error"],
            "AUROC of unseen types": choice["auroc_unseen"],
            "training s": choice["training_seconds"],
            "prediction s": choice["prediction_seconds"],
            "all s": choice["seconds"],
            "parameters": choice["parameters"],
            "data sets": choice["transfers"],
            "could not run": choice["reason"],
        }
    ).set_index("method")
    if choice["peak_gpu_mb"].isna().all():
        shown = shown.drop(columns="peak MB of GPUs")
    by_dataset = metrics.pivot_table(
        index="method", columns="dataset", values="macro_f1", aggfunc="mean"
    )
    by_dataset = by_dataset.reindex(choice["method"]).rename(index=names)
    by_dataset.index.name = "method"
    what = methods.loc[[entry.split("@")[0] for entry in choice["method"]]]
    what = what.set_index(choice["method"].map(names).to_numpy())
    what.index.name = "method"
    what = what[["description", "reads", "sees_query", "licence", "reference"]]
    versions = tables["costs"].groupby("method")["version"].first().rename(index=names)
    what.insert(1, "version", versions.reindex(what.index).fillna(""))
    machines = ", ".join(sorted(set(tables["costs"]["machine"]) - {""}))
    several = n_transfers > 1
    sections = [
        Section(
            "Which method",
            "Means over data sets and seeds. Draws: cells of the query drawn anew, the same for "
            f"every method. Times are sums over data sets, on one thread of: {machines}; they hold "
            "what a program needs to start.",
            shown,
            figures["choice"],
            named,
            low=(*COSTS, *ERRORS),
        ),
        *([Section("Macro F1 by data set", table=by_dataset, kinds=named)] if several else []),
        Section("F1 by label", "Cells of the query in brackets.", figure=figures["f1_map"]),
        *compared_sections(comparison, names, named),
        *([Section("Ranks over data sets", figure=figures["ranks"])] if several else []),
        trust_section(trust, names, named),
        Section(
            "What the methods are",
            "sees_query: what a method sees of the query before it labels a single cell.",
            what,
            kinds=named,
        ),
    ]
    return benchmark_page("Which method for these cells", answer_of(choice, names), sections)


def compared_sections(comparison, names, kinds) -> list[Section]:
    """The paired tests; of a single pair there is nothing to say."""
    sections = []
    for over, said in (("dataset", "data sets"), ("batch", "batches of the queries")):
        table = comparison[(comparison["over"] == over) & (comparison["score"] == "macro_f1")]
        if table["pairs"].max() < 2 or table.empty:
            continue
        shown = pd.DataFrame(
            {
                "method": table["method"].map(names),
                "difference": table["difference"],
                f"95 % of draws of {said}": interval(
                    table["difference"], table["lower"], table["upper"]
                ),
                "better on": table["better"],
                "worse on": table["worse"],
                "p (Wilcoxon)": table["p_value"],
                "p (Holm)": table["adjusted_p_value"],
            }
        ).set_index("method")
        note = (
            f"Macro F1 of the method minus that of ours, over {said}; the test needs six of them "
            "to say anything at 5 %."
        )
        if over == "batch":
            note += (
                f" Batches of at least {LEAST_CELLS} cells; those of one query share its "
                "reference, so they say less about other references."
            )
        title = f"Beside {names[table['against'].iloc[0]]}, over {said}"
        sections.append(Section(title, note, shown, kinds=kinds))
    return sections


def trust_section(trust, names, kinds) -> Section:
    """Calibration, coverage and unknown cells."""
    shown = pd.DataFrame(
        {
            "method": trust["method"].map(names),
            "calibration error": trust["calibration_error"],
            "mean confidence": trust["mean_confidence"],
            "accuracy": trust["accuracy"],
            "coverage of the top 95 %": trust["top95_coverage"],
            "labels in them": trust["top95_size"],
            "coverage of its sets": trust["set_coverage"],
            "labels in its sets": trust["set_size"],
            "AUROC of unseen types": trust["auroc_unseen"],
            "unseen found at 5 %": trust["unseen_found"],
            "known flagged": trust["share_shared_unknown"],
            "unseen flagged": trust["share_unseen_unknown"],
        }
    ).set_index("method")
    return Section(
        "How far the probabilities are to be believed",
        "Top 95 %: the most probable labels that together have 95 %; they should hold the true one "
        "of 95 % of the cells. Its sets: the prediction sets of methods that calibrate some, of "
        "others the label alone. Unseen types: cells whose label the reference lacks, by the score "
        "of unknown cells (one minus the confidence, where a method has none of its own); found at "
        "5 %: their share above 95 % of the other cells.",
        shown,
        kinds=kinds,
        low=ERRORS,
    )


def answer_of(choice, names) -> str:
    """What one should know, in words."""
    ran = choice[choice["macro_f1"].notna()]
    if ran.empty:
        return "No method has scores."
    first = ran.iloc[0]
    text = (
        f"{names[first['method']]} has the highest macro F1 ({first['macro_f1']:.3f}) and accuracy "
        f"{first['accuracy']:.3f}; it is the best in {first['share_best']:.0%} of draws of cells."
    )
    near = ran[ran["share_as_good"] > 0.025].iloc[1:]
    if len(near):
        listed = "; ".join(names[method] for method in near["method"][:4])  # names have commas
        more = f" and {len(near) - 4} more" if len(near) > 4 else ""
        text += f" These cells do not show to be worse: {listed}{more}."
        cheap = near.sort_values("cpu_seconds").iloc[0]
        if cheap["cpu_seconds"] < first["cpu_seconds"] / 2:
            text += (
                f" Of these {names[cheap['method']]} takes least: {cheap['cpu_seconds']:.0f} "
                f"processor seconds instead of {first['cpu_seconds']:.0f}."
            )
    return text


if __name__ == "__main__":
    run_script(main, snakemake)

"""PLKD: cell-type labels from an annotated single-cell reference to new cells.

A Teacher turns genes into pathway tokens and attends over them; a small Student learns from the
Teacher's soft labels and annotates the query. Method: Zhang, Ren, Li, Biology 2026, 15(1), 2.

    import plkd

    model = plkd.train(reference, labels_key="cell_type", batch_key="donor")
    plkd.annotate(query, model)
    plkd.explain(query, model, cell="AAAC-1").plot()
    plkd.report(query, model, "query.html")
    model.save("my_model")
    model = plkd.load("my_model")

Each name is loaded when it is first used, so ``import plkd`` alone costs nothing.
"""

import os
from typing import TYPE_CHECKING

from plkd.utils.lazy import lazy_names

__version__ = "0.1.0"

# Before torch is loaded: its threads sleep while they wait for one another. Where they spin, a
# training beside another busy process takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "train": "plkd.api:train",
        "annotate": "plkd.api:annotate",
        "explain": "plkd.api:explain",
        "report": "plkd.api:report",
        "label_tree": "plkd.api:label_tree",
        "load": "plkd.model.trained_model:load_model",
        "evaluate": "plkd.api:evaluate",
        "compute_gene_activity": "plkd.api:compute_gene_activity",
        "simulate": "plkd.simulation.project:simulate_project",
        "figures": "plkd.figures",
        "Model": "plkd.model.trained_model:Model",
        "Explanation": "plkd.api:Explanation",
        "InputError": "plkd.errors:InputError",
    },
)

if TYPE_CHECKING:
    from plkd import figures
    from plkd.api import (
        Explanation,
        annotate,
        compute_gene_activity,
        evaluate,
        explain,
        label_tree,
        report,
        train,
    )
    from plkd.errors import InputError
    from plkd.model.trained_model import Model
    from plkd.model.trained_model import load_model as load
    from plkd.simulation.project import simulate_project as simulate

__all__ = [
    "Explanation",
    "InputError",
    "Model",
    "annotate",
    "compute_gene_activity",
    "evaluate",
    "explain",
    "figures",
    "label_tree",
    "load",
    "report",
    "simulate",
    "train",
]

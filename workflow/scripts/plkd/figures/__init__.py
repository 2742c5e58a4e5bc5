"""Pictures: one module per subject; each ``plot_*`` returns a figure in the shared style."""

from typing import TYPE_CHECKING

from plkd.utils.lazy import lazy_names

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "plot_attention": "plkd.figures.pathways:plot_attention",
        "plot_beeswarm": "plkd.figures.attribution:plot_beeswarm",
        "plot_benchmark": "plkd.figures.benchmark:plot_benchmark",
        "plot_choice": "plkd.figures.choice:plot_choice",
        "plot_confidence": "plkd.figures.confidence:plot_confidence",
        "plot_confusion": "plkd.figures.confusion:plot_confusion",
        "plot_embedding": "plkd.figures.embedding:plot_embedding",
        "plot_explanation": "plkd.figures.explain:plot_explanation",
        "plot_f1_map": "plkd.figures.choice:plot_f1_map",
        "plot_faithfulness": "plkd.figures.faithfulness:plot_faithfulness",
        "plot_history": "plkd.figures.history:plot_history",
        "plot_imbalance": "plkd.figures.paper:plot_imbalance",
        "plot_integration": "plkd.figures.embedding:plot_integration",
        "plot_key_genes": "plkd.figures.key_genes:plot_key_genes",
        "plot_label_pathways": "plkd.figures.pathways:plot_label_pathways",
        "plot_markers": "plkd.figures.predicted:plot_markers",
        "plot_networks": "plkd.figures.networks:plot_networks",
        "plot_overall_scores": "plkd.figures.paper:plot_overall_scores",
        "plot_pathways": "plkd.figures.mask:plot_pathways",
        "plot_per_label": "plkd.figures.per_label:plot_per_label",
        "plot_predicted": "plkd.figures.predicted:plot_predicted",
        "plot_ranks": "plkd.figures.choice:plot_ranks",
        "plot_recovery": "plkd.figures.key_genes:plot_recovery",
        "plot_robustness": "plkd.figures.robustness:plot_robustness",
        "plot_slides": "plkd.figures.spatial:plot_slides",
        "plot_stability": "plkd.figures.key_genes:plot_stability",
        "plot_top_genes": "plkd.figures.attribution:plot_top_genes",
        "plot_truth_above": "plkd.figures.spatial:plot_truth_above",
        "save_figure": "plkd.figures.style:save_figure",
    },
)

if TYPE_CHECKING:
    from plkd.figures.attribution import plot_beeswarm, plot_top_genes
    from plkd.figures.benchmark import plot_benchmark
    from plkd.figures.choice import plot_choice, plot_f1_map, plot_ranks
    from plkd.figures.confidence import plot_confidence
    from plkd.figures.confusion import plot_confusion
    from plkd.figures.embedding import plot_embedding, plot_integration
    from plkd.figures.explain import plot_explanation
    from plkd.figures.faithfulness import plot_faithfulness
    from plkd.figures.history import plot_history
    from plkd.figures.key_genes import plot_key_genes, plot_recovery, plot_stability
    from plkd.figures.mask import plot_pathways
    from plkd.figures.networks import plot_networks
    from plkd.figures.paper import plot_imbalance, plot_overall_scores
    from plkd.figures.pathways import plot_attention, plot_label_pathways
    from plkd.figures.per_label import plot_per_label
    from plkd.figures.predicted import plot_markers, plot_predicted
    from plkd.figures.robustness import plot_robustness
    from plkd.figures.spatial import plot_slides, plot_truth_above
    from plkd.figures.style import save_figure

__all__ = [
    "plot_attention",
    "plot_beeswarm",
    "plot_benchmark",
    "plot_choice",
    "plot_confidence",
    "plot_confusion",
    "plot_embedding",
    "plot_explanation",
    "plot_f1_map",
    "plot_faithfulness",
    "plot_history",
    "plot_imbalance",
    "plot_integration",
    "plot_key_genes",
    "plot_label_pathways",
    "plot_markers",
    "plot_networks",
    "plot_overall_scores",
    "plot_pathways",
    "plot_per_label",
    "plot_predicted",
    "plot_ranks",
    "plot_recovery",
    "plot_robustness",
    "plot_slides",
    "plot_stability",
    "plot_top_genes",
    "plot_truth_above",
    "save_figure",
]

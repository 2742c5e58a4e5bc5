"""Names that give away what is no gene: quality measures, antibodies, peaks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from plkd.utils.text import listed

_QUALITY = (
    r"n_?(count|feature|gene|umi|peak)s?(_\w+)?",  # nCount_RNA, n_genes_by_counts
    r"(log1?p?_)?total[_.]?(counts|umis?|features|genes)(_\w+)?",
    r"(pct|percent|perc|frac|fraction)[._]\w[\w.]*",  # percent.mt, pct_counts_in_top_50_genes
    r"(s|g2m|g1)[._]?score|phase",
    r"(doublet|scrublet|scdbl\w*)[._]?(score|class|finder\w*)?s?|predicted_doublets?",
    r"orig\.ident|(seurat|leiden|louvain|kmeans)(_?clusters?)?(_?r?es\.?[\d.]+)?|clusters?",
    r"(rna|sct|integrated)_s?nn_res\.[\d.]+",
    r"x?_?(umap|tsne|pca?)[_.]\d+",
    r"cell_?(id|type|name)s?|barcodes?|batch|donor(_id)?|sample(_id)?",
)
QUALITY = re.compile("|".join(f"(?:{one})" for one in _QUALITY), re.IGNORECASE)
TOTAL = re.compile(r"(grand[ _.]?)?(total|sum)s?", re.IGNORECASE)

_OTHER = {
    "antibodies": re.compile(
        r"(ab|adt|hto|cite|protein|anti)[_.:-].+|.+[_.-](adt|ab|protein|totalseq\w*)|"
        r"(hto|hashtag)[\w-]*\d",
        re.IGNORECASE,
    ),
    "peaks": re.compile(r"(chr)?(\d{1,2}|x|y|mt?)[:_-]\d+[_-]\d+", re.IGNORECASE),
}


def is_quality(name: str) -> bool:
    """Whether a column of a table is a measure of the cell or says what it is, by its name.

    >>> [is_quality(name) for name in ("nCount_RNA", "percent.mt", "CD3D", "PCA3", "NCOUNT")]
    [True, True, False, False, True]
    """
    return QUALITY.fullmatch(name) is not None


def warnings_on_features(names: Sequence[str]) -> list[str]:
    """Sentences on a minority of features that are no genes by their names.

    Where most are, as in a file of peaks, that is what the file is about.
    """
    found = []
    for what, pattern in _OTHER.items():
        those = [name for name in names if pattern.fullmatch(name)]
        if those and len(those) < len(names) / 2:
            found.append(
                f"{len(those):,} of {len(names):,} features look like {what} by their names "
                f"({listed(those, 3)}); they are taken as genes and count in the total of every "
                "cell. Leave them out, or say in var['feature_types'] what each feature is"
            )
    return found

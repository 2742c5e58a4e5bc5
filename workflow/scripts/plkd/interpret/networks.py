"""Gene co-expression networks of the labels, from the Teacher's gene embeddings (section 2.4).

A label's genes are those with the largest P_j in its best pathways: ten pathways with two genes
each. A gene that a better pathway has brought in already is passed over for the pathway's next one,
so that there are twenty genes unless the pathways run out of genes that raise their score.

What is a gene's embedding? The choice:

``attended``
    Sum over all tokens that see the gene of W_j[gene], each weighted by the attention that the
    label's cells give it: what the Teacher as a whole reads from the gene in this label. One
    embedding per gene, in however many pathways it is. The default.
``pathway``
    W_j[gene] of the pathways that brought the gene in, summed: the text of the paper. Tokens are
    trained from independent random starts and their rows stay close to these, so rows of different
    tokens are nearly orthogonal whatever the genes do, and the network is mostly chance.

Genes are joined where the cosine of their embeddings is larger than chance allows: than that of all
but a small share of pairs of genes that are drawn from the whole model. Five centralities, each
large for an important gene, are put together by the Q statistic.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.interpret.columns import CENTRALITIES
from plkd.interpret.pathway_scores import effective_weights, reads_centred, teacher_of
from plkd.interpret.rank_aggregation import aggregate
from plkd.model.teacher import Teacher
from plkd.model.trained_network import TrainedNetwork
from plkd.utils.files import whole_file
from plkd.utils.logs import logger
from plkd.utils.text import for_xml, listed

Embedding = Literal["attended", "pathway"]

_RANDOM_PAIRS = 20_000
_LEAST_SIMILARITY = 1e-3  # an edge has a weight
_LEAST_DISTANCE = 1e-6  # of genes with the same embedding: a path over them still has a length


def label_networks(
    model: TrainedNetwork,
    ranked: pd.DataFrame,
    members: pd.DataFrame,
    *,
    genes_per_pathway: int = 2,
    embedding: Embedding = "attended",
    chance: float = 0.05,
    seed: int = 0,
) -> tuple[dict[str, nx.Graph], pd.DataFrame]:
    """Network and key genes of every label.

    Parameters
    ----------
    model
        A Teacher.
    ranked
        Pathways of the labels (:func:`plkd.interpret.pathway_scores.rank_label_pathways`).
    members
        Genes of the pathways (:func:`plkd.interpret.pathway_names.pathway_genes`).
    genes_per_pathway, embedding
        See :func:`choose_genes` and the module.
    chance
        Share of pairs of random genes that may be as similar as genes that are joined; see
        :func:`chance_similarity`. The graphs bear what it comes to, `similarity`, and how many
        edges chance alone would give, `expected_edges`.
    seed
        Of the choice of random pairs.

    Returns
    -------
    networks
        label -> network; a label without a pathway of its own has an empty one.
    table
        `label`, then the columns of :func:`rank_genes`.

    Raises
    ------
    InputError
        If the tables are not of this model.
    """
    teacher = teacher_of(model)
    _require_same(ranked["pathway"], model.tokens, "pathways")
    raising = members[members["weight"] > 0]
    _require_same(raising["gene"], model.genes, "genes")
    genes_of = dict.fromkeys(model.tokens, ())
    genes_of |= {str(name): tuple(part["gene"]) for name, part in raising.groupby("pathway")}
    networks, tables = {}, []
    for label, part in ranked.groupby("label", sort=False):
        own = part[part["top"].astype(bool)].sort_values("rank")
        attention = part.set_index("pathway")["attention"].reindex(model.tokens)
        genes = choose_genes(list(own["pathway"]), genes_of, genes_per_pathway=genes_per_pathway)
        vectors = gene_embeddings(
            teacher, genes, model.genes, model.tokens, attention.to_numpy(), embedding=embedding
        )
        similarity = chance_similarity(
            teacher, attention.to_numpy(), embedding=embedding, chance=chance, seed=seed
        )
        graph = build_network(list(genes), vectors, similarity=similarity)
        n_pairs = len(genes) * (len(genes) - 1) / 2
        graph.graph |= {"similarity": similarity, "expected_edges": chance * n_pairs}
        networks[str(label)] = graph
        table = rank_genes(graph, genes)
        table.insert(0, "label", str(label))
        tables.append(table)
    apart = [label for label, one in networks.items() if len(one) and not one.number_of_edges()]
    if apart:
        logger.warning(
            "of %d of %d labels no two genes are more alike than chance allows: %s",
            len(apart),
            len(networks),
            listed(apart),
        )
    return networks, pd.concat(tables, ignore_index=True)


def choose_genes(
    pathways: Sequence[str],
    genes_of: Mapping[str, Sequence[str]],
    *,
    genes_per_pathway: int = 2,
) -> dict[str, list[str]]:
    """Genes of a label, each with the pathways it stands for.

    Parameters
    ----------
    pathways
        The label's pathways, best first.
    genes_of
        Genes that raise the score of every pathway, strongest first.
    genes_per_pathway
        How many each pathway brings in; those that are in already do not count.

    Returns
    -------
    dict
        gene -> pathways of the label that have it among their genes, best first; in the order in
        which the genes come in.
    """
    chosen: list[str] = []
    for pathway in pathways:
        new = [gene for gene in genes_of[pathway] if gene not in chosen]
        chosen += new[:genes_per_pathway]
    members = {pathway: set(genes_of[pathway]) for pathway in pathways}
    return {gene: [name for name in pathways if gene in members[name]] for gene in chosen}


def gene_embeddings(
    teacher: Teacher,
    genes: Mapping[str, Sequence[str]],
    model_genes: Sequence[str],
    model_tokens: Sequence[str],
    attention: Sequence[float] | NDArray[np.float64],
    *,
    embedding: Embedding = "attended",
) -> NDArray[np.float64]:
    """Embeddings of a label's genes, float64 (genes, width).

    Parameters
    ----------
    teacher
        The network.
    genes
        gene -> its pathways (:func:`choose_genes`).
    model_genes, model_tokens
        Names in the order of the network.
    attention
        Mean attention of the label's cells to every pathway, in the order of the network.
    embedding
        See the module.
    """
    mask, weights = effective_weights(teacher)
    if reads_centred(teacher):
        weights = weights - weights.mean(axis=1, keepdims=True)
    token_of_entry = np.repeat(np.arange(mask.shape[1]), np.diff(mask.indptr))
    row = {gene: i for i, gene in enumerate(model_genes)}
    column = {pathway: i for i, pathway in enumerate(model_tokens)}
    share = np.asarray(attention, dtype=np.float64)
    vectors = []
    for gene, pathways in genes.items():
        entries = np.flatnonzero(mask.indices == row[gene])
        if embedding == "attended":
            factor = share[token_of_entry[entries]]
        else:
            factor = np.isin(token_of_entry[entries], [column[name] for name in pathways])
        vectors.append(factor @ weights[entries])
    return np.array(vectors).reshape(len(vectors), weights.shape[1])


def chance_similarity(
    teacher: Teacher,
    attention: Sequence[float] | NDArray[np.float64],
    *,
    embedding: Embedding = "attended",
    chance: float = 0.05,
    seed: int = 0,
) -> float:
    """Cosine that a share of random pairs of the model's genes exceeds; above zero.

    Parameters
    ----------
    teacher, attention, embedding
        As for :func:`gene_embeddings`; ``pathway`` sums over all pathways of a gene.
    chance
        The share.
    seed
        Of the choice of pairs.
    """
    mask, weights = effective_weights(teacher)
    if reads_centred(teacher):
        weights = weights - weights.mean(axis=1, keepdims=True)
    token_of_entry = np.repeat(np.arange(mask.shape[1]), np.diff(mask.indptr))
    factor = np.asarray(attention, dtype=np.float64)[token_of_entry]
    if embedding == "pathway":
        factor = np.ones(len(token_of_entry))
    entries = sparse.csr_matrix(
        (factor, (mask.indices, np.arange(len(factor)))), shape=(mask.shape[0], len(factor))
    )
    vectors = entries @ weights
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(lengths, 1e-12))[lengths[:, 0] > 0]
    if len(unit) < 2:
        return _LEAST_SIMILARITY
    pairs = np.random.default_rng([seed, 12]).integers(len(unit), size=(2, _RANDOM_PAIRS))
    one, other = pairs[:, pairs[0] != pairs[1]]
    cosine = np.einsum("pw,pw->p", unit[one], unit[other])
    return max(float(np.quantile(cosine, 1.0 - chance)), _LEAST_SIMILARITY)


def build_network(
    genes: Sequence[str], embeddings: NDArray[np.float64], *, similarity: float = 0.5
) -> nx.Graph:
    """Join the genes whose embeddings point the same way.

    Parameters
    ----------
    genes
        Names of the nodes.
    embeddings
        Shape (genes, width). A gene with an embedding of zeros is joined to none.
    similarity
        Least cosine of an edge, above zero.

    Returns
    -------
    Graph
        Edges with `weight` (the cosine) and `distance` (1 - cosine).
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    cosine = np.clip(unit @ unit.T, -1.0, 1.0)
    graph = nx.Graph()
    graph.add_nodes_from(genes)
    for i, j in zip(*np.nonzero(np.triu(cosine >= similarity, k=1)), strict=True):
        weight = float(cosine[i, j])
        graph.add_edge(
            genes[i], genes[j], weight=weight, distance=max(1.0 - weight, _LEAST_DISTANCE)
        )
    return graph


def centralities(graph: nx.Graph) -> pd.DataFrame:
    """Five centralities of every gene, by networkx, edges weighted by their cosine.

    `degree` is the sum of the weights of a gene's edges, `pagerank` follows the weights,
    `betweenness` and `closeness` run along distances (1 - cosine). A graph in several pieces:
    `closeness` counts the share of the genes that can be reached (Wasserman and Faust);
    `eigenvector` is taken in each piece by itself, as the sum over a gene's edges of weight times
    the neighbour's entry in the piece's leading eigenvector (of length one), so that a gene of a
    small or loose piece does not pass one of a large dense one. In a connected graph that is the
    usual eigenvector centrality. Genes without an edge have zero, and in `pagerank` the least.

    Returns
    -------
    DataFrame
        Columns :data:`CENTRALITIES`, one row per gene in the order of the graph.
    """
    found = {
        "degree": dict(graph.degree(weight="weight")),
        "betweenness": nx.betweenness_centrality(graph, weight="distance"),
        "eigenvector": _eigenvector(graph),
        "pagerank": nx.pagerank(graph, weight="weight", tol=1e-10, max_iter=10_000),
        "closeness": nx.closeness_centrality(graph, distance="distance"),
    }
    return pd.DataFrame(found, index=list(graph), columns=list(CENTRALITIES), dtype=float)


def rank_genes(graph: nx.Graph, genes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Key genes of a network.

    Parameters
    ----------
    graph
        The network.
    genes
        gene -> pathways.

    Returns
    -------
    DataFrame
        One row per gene, the most central first: `gene`, `pathway` (joined by ";"), the
        centralities, `q` (small: central by all five), `rank` (from 1; genes with the same q share
        the first of their places).
    """
    table = centralities(graph)
    table["q"] = aggregate(table)
    table["rank"] = table["q"].round(12).rank(method="min").astype(int)
    table.insert(0, "gene", table.index.astype(str))
    table.insert(1, "pathway", [";".join(genes[gene]) for gene in table["gene"]])
    return table.sort_values("rank", kind="stable").reset_index(drop=True)


def edge_table(graph: nx.Graph) -> pd.DataFrame:
    """Edges of a network, the most similar first: `gene`, `other`, `similarity`."""
    edges = [(one, other, data["weight"]) for one, other, data in graph.edges(data=True)]
    table = pd.DataFrame(edges, columns=["gene", "other", "similarity"])
    return table.sort_values("similarity", ascending=False, kind="stable").reset_index(drop=True)


def write_graphml(
    graph: nx.Graph, table: pd.DataFrame, path: str | Path, *, label: str = ""
) -> None:
    """Write a network with the figures of its genes as GraphML (Cytoscape, Gephi, networkx)."""
    annotated = nx.Graph(label=for_xml(label))
    for row in table.to_dict("records"):
        attributes = {
            str(key): for_xml(value) if isinstance(value, str) else value
            for key, value in row.items()
            if key != "gene"
        }
        annotated.add_node(for_xml(row["gene"]), **attributes)
    annotated.add_edges_from(
        (for_xml(one), for_xml(other), data) for one, other, data in graph.edges(data=True)
    )
    with whole_file(path) as temporary:
        nx.write_graphml(annotated, temporary)


def file_slug(number: int, label: str, length: int = 40) -> str:
    """Turn a label into a name for files: a number, then letters and digits of the label.

    >>> file_slug(3, "CD4+ T / naïve")
    '03_CD4_T_naive'
    """
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:length].rstrip("_")
    return f"{number:02d}_{slug}" if slug else f"{number:02d}"


def _eigenvector(graph: nx.Graph) -> dict[str, float]:
    entries: dict[str, float] = dict.fromkeys(graph, 0.0)
    for piece in nx.connected_components(graph):
        if len(piece) < 2:
            continue
        # in the order of the graph: that of a set of texts is another one in every process
        part = nx.Graph()
        part.add_nodes_from(gene for gene in graph if gene in piece)
        part.add_edges_from(graph.edges(list(part), data=True))
        # its iteration starts from, and shifts by, positive numbers: on a connected graph it ends
        vector = nx.eigenvector_centrality(part, max_iter=100_000, tol=1e-10, weight="weight")
        for gene in part:
            entries[gene] = sum(
                data["weight"] * vector[other] for other, data in part.adj[gene].items()
            )
    length = np.sqrt(sum(value**2 for value in entries.values()))
    return {gene: value / length if length else 0.0 for gene, value in entries.items()}


def _require_same(found: pd.Series, known: Sequence[str], what: str) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise InputError(
            f"{len(unknown)} {what} of the tables are not the Teacher's ({unknown[0]!r}, ..): make "
            "the tables again from this Teacher."
        )

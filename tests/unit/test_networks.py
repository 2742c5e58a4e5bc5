"""Gene networks: centralities by their definitions, the choice of genes, files."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse

from plkd.errors import InputError
from plkd.interpret.columns import CENTRALITIES
from plkd.interpret.networks import (
    build_network,
    centralities,
    chance_similarity,
    choose_genes,
    edge_table,
    file_slug,
    gene_embeddings,
    label_networks,
    rank_genes,
    write_graphml,
)
from plkd.interpret.pathway_names import pathway_genes
from plkd.interpret.pathway_scores import effective_weights, pathway_weights
from plkd.model.teacher import Teacher
from plkd.model.trained_network import TrainedNetwork
from plkd.settings.models import Settings, TeacherSettings


def random_network(seed: int, n: int = 9, width: int = 3, similarity: float = 0.3) -> nx.Graph:
    vectors = np.random.default_rng(seed).normal(size=(n, width))
    return build_network([f"G{i}" for i in range(n)], vectors, similarity=similarity)


# -------------------------------------------------------------------------- centralities


def distances(graph: nx.Graph) -> pd.DataFrame:
    """Shortest paths by Floyd and Warshall."""
    nodes = list(graph)
    d = np.full((len(nodes), len(nodes)), np.inf)
    np.fill_diagonal(d, 0)
    for one, other, data in graph.edges(data=True):
        i, j = nodes.index(one), nodes.index(other)
        d[i, j] = d[j, i] = data["distance"]
    for k in range(len(nodes)):
        d = np.minimum(d, d[:, [k]] + d[[k], :])
    return pd.DataFrame(d, nodes, nodes)


def by_definition(graph: nx.Graph) -> pd.DataFrame:
    nodes = list(graph)
    n = len(nodes)
    weights = nx.to_numpy_array(graph, nodelist=nodes, weight="weight")
    d = distances(graph)
    closeness, betweenness = [], []
    for node in nodes:
        reached = d.loc[node][np.isfinite(d.loc[node])]
        others = len(reached) - 1
        closeness.append(others / reached.sum() * others / (n - 1) if others else 0.0)
        # with random lengths the shortest path is unique: does it go through the node?
        pairs = itertools.combinations([other for other in nodes if other != node], 2)
        through = sum(
            np.isfinite(d.loc[a, b]) and abs(d.loc[a, node] + d.loc[node, b] - d.loc[a, b]) < 1e-12
            for a, b in pairs
        )
        betweenness.append(through / ((n - 1) * (n - 2) / 2))
    # PageRank: the stationary distribution of a walk that jumps with chance 0.15
    strength = weights.sum(axis=1)
    walk = np.where(
        strength[:, None] > 0, weights / np.where(strength, strength, 1)[:, None], 1 / n
    )
    jumping = 0.85 * walk + 0.15 / n
    values, vectors = np.linalg.eig(jumping.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    # eigenvector: of every piece, times the piece's eigenvalue
    eigenvector = np.zeros(n)
    for piece in nx.connected_components(graph):
        rows = [nodes.index(node) for node in piece]
        lead, basis = np.linalg.eigh(weights[np.ix_(rows, rows)])
        eigenvector[rows] = lead[-1] * np.abs(basis[:, -1])
    length = np.linalg.norm(eigenvector)
    return pd.DataFrame(
        {
            "degree": strength,
            "betweenness": betweenness,
            "eigenvector": eigenvector / length if length else eigenvector,
            "pagerank": stationary / stationary.sum(),
            "closeness": closeness,
        },
        index=nodes,
    )


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(3, 12), similarity=st.sampled_from([0.1, 0.5, 0.8])
)
def test_centralities_by_definition(seed: int, n: int, similarity: float) -> None:
    graph = random_network(seed, n, similarity=similarity)
    found = centralities(graph)
    assert tuple(found.columns) == CENTRALITIES
    pd.testing.assert_frame_equal(found, by_definition(graph), rtol=1e-5, atol=1e-7)


def test_connected_graph_has_the_usual_eigenvector_centrality() -> None:
    graph = random_network(3, n=10, similarity=0.05)
    assert nx.is_connected(graph)
    usual = nx.eigenvector_centrality_numpy(graph, weight="weight")
    np.testing.assert_allclose(centralities(graph)["eigenvector"], list(usual.values()), rtol=1e-6)


def graph_of(*edges: tuple[str, str], alone: str = "") -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(alone)
    for one, other in edges:
        graph.add_edge(one, other, weight=0.8, distance=0.2)
    return graph


def test_pieces_of_a_graph_are_compared_with_each_other() -> None:
    clique = list(itertools.combinations("abcd", 2))
    found = centralities(graph_of(*clique, ("x", "y"), alone="z"))
    for name in ("degree", "eigenvector", "pagerank", "closeness"):
        assert found.loc["a", name] > 0, name
        assert found.loc["a", name] >= found.loc["x", name] > found.loc["z", name], name
    assert (found.loc["z", ["degree", "betweenness", "eigenvector", "closeness"]] == 0).all()


def test_every_process_finds_the_same_to_the_last_digit() -> None:
    """Sets of texts come in another order in every process; sums must not follow them."""
    program = """
import networkx as nx, numpy as np
from plkd.interpret.networks import centralities
rng, graph = np.random.default_rng(0), nx.Graph()
for a in range(30):
    for b in range(a):
        if (weight := rng.random()) > 0.8:
            graph.add_edge(f"G{a}", f"G{b}", weight=weight, distance=1 - weight)
print(centralities(graph).to_csv(float_format="%.17g"))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={
                **os.environ,
                "PYTHONHASHSEED": str(seed),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(found) == 1


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_graph_without_an_edge(n: int) -> None:
    names = [f"G{i}" for i in range(n)]
    graph = build_network(names, np.eye(n, 6), similarity=0.5)
    assert graph.number_of_edges() == 0
    table = rank_genes(graph, {name: ["p"] for name in names})
    assert list(table["gene"]) == names
    assert (table["rank"] == 1).all()
    assert len(set(table["q"])) <= 1


def test_star_puts_its_centre_first_and_its_leaves_together() -> None:
    leaves = "bcdefg"
    graph = graph_of(*(("a", leaf) for leaf in leaves))
    table = rank_genes(graph, {gene: ["p"] for gene in "abcdefg"}).set_index("gene")
    assert table.loc["a", "rank"] == 1
    assert table.loc["a", "q"] == pytest.approx((1 / 7) ** 5)
    assert len(set(table.loc[list(leaves), "q"])) == 1
    assert set(table.loc[list(leaves), "rank"]) == {2}


def test_order_of_the_genes_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    names = [f"G{i:02d}" for i in range(15)]
    vectors = rng.normal(size=(15, 4))
    genes = {name: ["p"] for name in names}
    expected = rank_genes(build_network(names, vectors, similarity=0.2), genes)
    order = rng.permutation(15)
    shuffled = [names[i] for i in order]
    found = rank_genes(build_network(shuffled, vectors[order], similarity=0.2), genes)
    pd.testing.assert_frame_equal(
        found.sort_values("gene").reset_index(drop=True),
        expected.sort_values("gene").reset_index(drop=True),
        rtol=1e-6,
    )


def test_edges_are_the_cosines_above_the_threshold() -> None:
    vectors = np.array([[1.0, 0], [2, 0], [1, 1], [-1, 0], [0, 0]])
    graph = build_network(list("abcde"), vectors, similarity=0.5)
    table = edge_table(graph)
    assert set(map(frozenset, zip(table["gene"], table["other"], strict=True))) == {
        frozenset("ab"), frozenset("ac"), frozenset("bc"),
    }  # fmt: skip
    assert graph["a"]["c"]["weight"] == pytest.approx(np.sqrt(0.5))
    assert graph["a"]["c"]["distance"] == pytest.approx(1 - np.sqrt(0.5))
    assert 0 < graph["a"]["b"]["distance"] < 1e-5  # the same direction is near, not nowhere
    assert list(table["similarity"]) == sorted(table["similarity"], reverse=True)


# ----------------------------------------------------------------------- choice of genes


def test_genes_that_better_pathways_brought_in_are_passed_over() -> None:
    genes_of = {"p": ["a", "b", "c"], "q": ["b", "a", "d", "e"], "r": ["a"], "s": ()}
    chosen = choose_genes(["p", "q", "r", "s"], genes_of)
    assert chosen == {"a": ["p", "q", "r"], "b": ["p", "q"], "d": ["q"], "e": ["q"]}
    assert list(choose_genes(["q", "p"], genes_of)) == ["b", "a", "c"]
    assert list(choose_genes(["p", "q"], genes_of, genes_per_pathway=1)) == ["a", "b"]
    assert choose_genes([], genes_of) == {}


def test_ten_tokens_with_two_genes_each_give_twenty() -> None:
    genes_of = {f"p{i}": [f"g{j}" for j in range(i, i + 30)] for i in range(10)}
    assert len(choose_genes(list(genes_of), genes_of)) == 20


# --------------------------------------------------------------------------- embeddings


def small_model(block: str = "prenorm", seed: int = 0) -> TrainedNetwork:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 5)) < 0.5
    mask[0] = True
    settings = Settings(teacher=TeacherSettings(width=6, block=block))
    scale = torch.from_numpy(rng.uniform(0.5, 2, 12)).float()
    teacher = Teacher(sparse.csc_array(mask), 3, settings.teacher, scale)
    return TrainedNetwork(
        teacher,
        [f"G{i}" for i in range(12)],
        ["A", "B", "C"],
        settings,
        [f"P{i}" for i in range(5)],
    )


@pytest.mark.parametrize("block", ["bare", "prenorm"])
def test_attended_embedding_is_the_change_of_the_attended_tokens(block: str) -> None:
    """Derivative by a gene of the tokens' sum, weighted by the attention."""
    model = small_model(block)
    attention = np.random.default_rng(1).dirichlet(np.ones(6))[:-1]
    weights = torch.from_numpy(attention).float()

    def attended(x: torch.Tensor) -> torch.Tensor:
        tokens = model.network.navigator(x[None] * model.network.input_scale)[0]
        tokens = tokens - tokens.mean(dim=1, keepdim=True) if block == "prenorm" else tokens
        return weights @ tokens

    expected = torch.autograd.functional.jacobian(attended, torch.rand(12)).T
    found = gene_embeddings(
        model.network, {gene: [] for gene in model.genes}, model.genes, model.tokens, attention
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_pathway_embedding_is_the_gene_s_row_in_its_pathways() -> None:
    model = small_model("bare")
    mask, weights = effective_weights(model.network)
    dense = np.zeros((12, 5, 6))
    columns = np.repeat(np.arange(5), np.diff(mask.indptr))
    dense[mask.indices, columns] = weights
    genes = {"G0": ["P1", "P3"], "G4": ["P2"]}
    found = gene_embeddings(
        model.network, genes, model.genes, model.tokens, np.zeros(5), embedding="pathway"
    )
    np.testing.assert_allclose(found, [dense[0, 1] + dense[0, 3], dense[4, 2]])


# ----------------------------------------------------------------------------- whole label


def tables(model: TrainedNetwork) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pathways of two labels; the second has none of its own."""
    axes = np.random.default_rng(2).normal(size=(5, 6))
    axes *= np.sign(pathway_weights(model.network, axes).sum(axis=0))[:, None]  # some gene raises
    members = pathway_genes(pathway_weights(model.network, axes), model.genes, model.tokens)
    ranked = pd.DataFrame(
        {
            "label": ["A / B+"] * 5 + ["C"] * 5,
            "pathway": ["P2", "P0", "P4", "P1", "P3"] * 2,
            "rank": [1, 2, 3, 4, 5] * 2,
            "top": [True, True, False, False, False] + [False] * 5,
            "attention": 0.1,
        }
    )
    return ranked, members


def test_networks_of_labels_with_few_pathways_or_none() -> None:
    model = small_model()
    ranked, members = tables(model)
    networks, table = label_networks(model, ranked, members, chance=0.4)
    assert list(networks) == ["A / B+", "C"]
    assert len(networks["C"]) == 0
    raising = members[members["weight"] > 0].groupby("pathway")["gene"].apply(list)
    first_two = raising["P2"][:2]
    own = table[table["label"] == "A / B+"]
    assert set(first_two) <= set(own["gene"])
    assert len(own) <= 4
    assert set(table["label"]) == {"A / B+"}
    for gene, pathways in zip(own["gene"], own["pathway"], strict=True):
        assert all(gene in raising[name] for name in pathways.split(";"))


def test_chance_is_what_random_pairs_of_genes_reach() -> None:
    model = small_model()
    teacher = model.network
    attention = np.linspace(0.5, 1.5, len(model.tokens))
    every = {gene: [] for gene in model.genes}
    vectors = gene_embeddings(teacher, every, model.genes, model.tokens, attention)
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors[lengths > 0] / lengths[lengths > 0, None]
    cosine = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
    for chance in (0.02, 0.2):
        least = chance_similarity(teacher, attention, chance=chance)
        assert (cosine >= least).mean() == pytest.approx(chance, abs=0.02)
    assert chance_similarity(teacher, attention, chance=0.99) > 0  # an edge has a weight


def test_networks_say_what_chance_would_give() -> None:
    model = small_model()
    networks, _ = label_networks(model, *tables(model), chance=0.3)
    graph = networks["A / B+"]
    pairs = len(graph) * (len(graph) - 1) / 2
    assert graph.graph["expected_edges"] == pytest.approx(0.3 * pairs)
    assert all(data["weight"] >= graph.graph["similarity"] for *_, data in graph.edges(data=True))


def test_order_of_the_pathways_in_the_model_changes_nothing() -> None:
    """The same Teacher with its tokens in another order gives the same networks."""
    model = small_model()
    ranked, members = tables(model)
    _, expected = label_networks(model, ranked, members, chance=0.4)
    order = [3, 1, 4, 0, 2]
    mask, entries = model.network.navigator.mask(), model.network.navigator.entry_weights()
    network = Teacher(
        sparse.csc_array(mask.toarray()[:, order]), 3, model.settings.teacher,
        model.network.input_scale,
    )  # fmt: skip
    bounds = mask.indptr
    network.navigator.load_entry_weights(
        torch.cat([entries[bounds[i] : bounds[i + 1]] for i in order])
    )
    other = dataclasses.replace(model, network=network, tokens=[model.tokens[i] for i in order])
    _, found = label_networks(other, ranked, members, chance=0.4)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_tables_of_another_teacher_are_refused() -> None:
    model = small_model()
    ranked, members = tables(model)
    with pytest.raises(InputError, match=r"pathways.*'P9'"):
        label_networks(model, ranked.replace("P2", "P9"), members)
    with pytest.raises(InputError, match="genes"):
        label_networks(model, ranked, members.assign(gene="CD3D"))


# --------------------------------------------------------------------------------- files


def test_graphml_is_read_back_by_networkx(tmp_path) -> None:
    graph = random_network(7, n=6)
    genes = {gene: ["PATH_A", "PATH_B & <C>"] for gene in graph}
    table = rank_genes(graph, genes)
    write_graphml(graph, table, tmp_path / "net.graphml", label="CD4+ T / naïve")
    back = nx.read_graphml(tmp_path / "net.graphml")
    assert back.graph["label"] == "CD4+ T / naïve"
    assert nx.utils.edges_equal(
        [(a, b, round(d["weight"], 12)) for a, b, d in back.edges(data=True)],
        [(a, b, round(d["weight"], 12)) for a, b, d in graph.edges(data=True)],
    )
    first = table.iloc[0]
    node = back.nodes[first["gene"]]
    assert node["pathway"] == "PATH_A;PATH_B & <C>"
    assert node["q"] == pytest.approx(first["q"])
    assert node["rank"] == 1
    assert set(CENTRALITIES) <= set(node)


def test_control_characters_do_not_spoil_graphml(tmp_path):
    graph = nx.Graph()
    graph.add_edge("CD3\x1bD", "A\x00", weight=0.5)
    table = rank_genes(graph, {"CD3\x1bD": ["set\x07 one"], "A\x00": ["two"]})
    write_graphml(graph, table, tmp_path / "net.graphml", label="T\x0b cell")
    back = nx.read_graphml(tmp_path / "net.graphml")
    assert set(back) == {r"CD3\x1bD", r"A\x00"}
    assert back.number_of_edges() == 1
    assert back.nodes[r"CD3\x1bD"]["pathway"] == r"set\x07 one"
    assert back.graph["label"] == r"T\x0b cell"


def test_names_of_files_are_plain_and_different() -> None:
    labels = ["CD4+ T / naïve", "CD4 T naive", "γδ", "../etc", "a b", "x" * 300, ""]
    slugs = [file_slug(i, label) for i, label in enumerate(labels)]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("_", "").isalnum() and slug.isascii() for slug in slugs)
    assert max(map(len, slugs)) < 60

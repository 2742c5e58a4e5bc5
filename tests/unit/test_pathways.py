import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata.io import read_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import fisher_exact, hypergeom

from plkd.errors import InputError
from plkd.figures.mask import plot_pathways, readable_name
from plkd.figures.style import save_figure, style
from plkd.io.ensembl import symbols_of_ids
from plkd.pathways.gene_sets import (
    GeneSet,
    choose_gene_sets,
    over_representation,
    read_gmt,
    read_gmts,
    select_pathways,
    spell_as,
)
from plkd.pathways.mask import RANDOM_DENSITY, UNCOVERED, Mask, build_mask, coverage

SHIPPED = Path(__file__).parents[2] / "resources" / "gene_sets" / "blood_programmes.gmt"


def collection(sets: dict[str, list[str]]) -> dict[str, GeneSet]:
    return {name: GeneSet(name, f"about {name}", tuple(genes)) for name, genes in sets.items()}


def random_case(seed: int, n_sets: int = 80):
    """Planted collection: 400 measured genes, 120 of them selected, some unknown."""
    rng = np.random.default_rng(seed)
    background = [f"G{i}" for i in range(400)]
    genes = rng.permutation(background)[:120].tolist()
    universe = [*background, *(f"X{i}" for i in range(100))]
    sets = {
        f"set{i:02}": rng.choice(universe, rng.integers(2, 60), replace=False).tolist()
        for i in range(n_sets)
    }
    return collection(sets), genes, background


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestReadGmt:
    def test_reads_names_descriptions_and_genes_once(self, tmp_path):
        path = write(tmp_path / "a.gmt", "A\twhat A is\tCD3D\tCD3E\tCD3D\r\n\nB\t\tMS4A1,1.0\t\n")
        assert read_gmt(path) == {
            "A": GeneSet("A", "what A is", ("CD3D", "CD3E")),
            "B": GeneSet("B", "", ("MS4A1",)),
        }

    def test_gzip_and_byte_order_mark(self, tmp_path):
        text = "\ufeffA\td\tG1\tG2\n".encode()
        path = write(tmp_path / "a.gmt.gz", gzip.compress(text))
        assert read_gmt(path)["A"].genes == ("G1", "G2")

    def test_sets_without_genes_are_left_out(self, tmp_path):
        assert list(read_gmt(write(tmp_path / "a.gmt", "A\td\tG1\nB\td\nC\td\t\t\n"))) == ["A"]

    @pytest.mark.parametrize(
        ("content", "needed"),
        [
            ("A\td\tG1\nG1 G2 G3\n", "line 2"),
            ("A\td\tG1\n\td\tG1\n", "line 2"),
            ("A\td\tG1\nB\td\tG1\nA\td\tG2\n", "line 3"),
            ("<!DOCTYPE html>\n<html></html>\n", "line 1"),
            ("", "no gene set"),
            ("A\td\n", "no gene set"),
            (b"\x89HDF\r\n\x1a\n\0\0\0", "not a GMT file"),
            (b"\xff\xfe\xfa\t\xf0", "not a GMT file"),
            (gzip.compress(b"A\td\tG1\n" * 99, mtime=0)[:-9], "download it again"),
        ],
    )
    def test_bad_files(self, tmp_path, content, needed):
        path = write(tmp_path / "bad.gmt", content)
        with pytest.raises(InputError, match=needed) as error:
            read_gmt(path)
        assert str(path) in str(error.value)

    def test_absent_file(self, tmp_path):
        with pytest.raises(InputError, match=r"absent\.gmt"):
            read_gmt(tmp_path / "absent.gmt")

    def test_several_files_prefix_only_names_that_clash(self, tmp_path):
        one = write(tmp_path / "one.gmt", "A\td\tG1\nB\td\tG2\n")
        two = write(tmp_path / "two.v2.gmt", "A\td\tG3\nC\td\tG4\n")
        joined = read_gmts([one, two])
        assert list(joined) == ["one:A", "B", "two:A", "C"]
        assert all(name == gene_set.name for name, gene_set in joined.items())
        assert joined["two:A"].genes == ("G3",)

    def test_the_same_file_twice(self, tmp_path):
        path = write(tmp_path / "one.gmt", "A\td\tG1\n")
        with pytest.raises(InputError, match="once"):
            read_gmts([path, path])
        with pytest.raises(InputError, match="at least one"):
            read_gmts([])


class TestOverRepresentation:
    def test_equals_fisher_and_hypergeometric_tests(self):
        sets, genes, background = random_case(0)
        table = over_representation(genes, sets, background).set_index("name")
        chosen, universe = set(genes), set(background)
        for name, gene_set in sets.items():
            members = universe & set(gene_set.genes)
            inside = len(members & chosen)
            square = [
                [inside, len(members) - inside],
                [len(chosen) - inside, len(universe - members - chosen)],
            ]
            row = table.loc[name]
            assert (row["overlap"], row["measured"]) == (inside, len(members))
            by_fisher = fisher_exact(square, alternative="greater").pvalue
            assert row["p_value"] == pytest.approx(by_fisher)
            tail = sum(
                hypergeom.pmf(k, len(universe), len(members), len(chosen))
                for k in range(inside, len(members) + 1)
            )
            assert row["p_value"] == pytest.approx(tail)

    def test_adjustment_counts_every_set(self):
        sets, genes, background = random_case(1)
        sets |= collection({"elsewhere": [g for g in background if g not in genes][:30]})
        table = over_representation(genes, sets, background)
        p = table["p_value"].to_numpy()
        by_hand = [min(1, *(len(p) * q / np.sum(p <= q) for q in p[p >= own])) for own in p]
        np.testing.assert_allclose(table["adjusted_p_value"], by_hand)
        assert table.set_index("name").loc["elsewhere", "p_value"] == 1

    def test_number_like_names_and_case_are_taken_as_they_are(self):
        sets = collection({"entrez": ["1", "2"], "capitals": ["AB", "CD"]})
        table = over_representation(["1", "2", "ab", "cd"], sets, ["1", "2", "ab", "cd", "x"])
        assert table["overlap"].tolist() == [2, 0]

    def test_no_sets(self):
        assert over_representation(["A"], {}, ["A", "B"]).empty


class TestSelectPathways:
    @pytest.mark.parametrize("rank_by", ["enrichment", "coverage"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_equals_brute_force(self, rank_by, seed):
        sets, genes, background = random_case(seed)
        table = select_pathways(
            sets, genes, background, min_genes=6, max_genes=40, max_pathways=12, rank_by=rank_by
        )
        keys = []
        for name, gene_set in sets.items():
            overlap = len([g for g in genes if g in gene_set.genes])
            measured = len([g for g in background if g in gene_set.genes])
            if overlap >= 6 and len(gene_set.genes) <= 40:
                p = hypergeom.sf(overlap - 1, len(background), measured, len(genes))
                keys.append((p if rank_by == "enrichment" else 0, -overlap, name))
        expected = [name for *_, name in sorted(keys)[:12]]
        assert table["name"].tolist() == expected
        assert table["rank"].tolist() == list(range(1, len(expected) + 1))
        assert table["size"].tolist() == [len(sets[name].genes) for name in expected]
        assert table["description"].tolist() == [f"about {name}" for name in expected]
        np.testing.assert_allclose(table["coverage"], table["overlap"] / 120)

    def test_limits_are_inclusive(self):
        genes = [f"G{i}" for i in range(10)]
        sets = collection({"five": genes[:5], "four": genes[:4], "nine": genes[:9]})
        chosen = select_pathways(sets, genes, [*genes, "Z"], min_genes=5, max_genes=9)
        assert set(chosen["name"]) == {"five", "nine"}
        chosen = select_pathways(sets, genes, [*genes, "Z"], min_genes=5, max_genes=8)
        assert set(chosen["name"]) == {"five"}

    def test_all_measured_genes_selected_ranks_by_overlap_then_name(self):
        genes = [f"G{i}" for i in range(20)]
        sets = collection({"c": genes[:6], "b": genes[:9], "a": genes[3:9]})
        table = select_pathways(sets, genes, genes)
        assert table["name"].tolist() == ["b", "a", "c"]
        assert (table["p_value"] == 1).all()
        assert (table["adjusted_p_value"] == 1).all()

    def test_the_order_of_the_collection_does_not_matter(self):
        sets, genes, background = random_case(3)
        backwards = dict(reversed(sets.items()))
        pd.testing.assert_frame_equal(
            select_pathways(sets, genes, background),
            select_pathways(backwards, genes[::-1], background[::-1]),
        )

    def test_sets_with_the_same_selected_genes(self):
        genes, others = [f"G{i}" for i in range(12)], [f"O{i}" for i in range(30)]
        sets = collection(
            {
                "loose": [*genes[:6], *others[:9]],
                "tight": genes[:6],
                "tight too": genes[5::-1],
                "other": genes[5:11],
            }
        )
        table = select_pathways(sets, genes, genes + others).set_index("name")
        assert set(table.index) == {"tight", "other"}
        assert table.loc["tight", "duplicates"] == "tight too; loose"
        assert table.loc["other", "duplicates"] == ""
        kept = select_pathways(sets, genes, genes + others, drop_duplicates=False)
        assert len(kept) == 4
        # A redundant set must not take the place of another one.
        assert len(select_pathways(sets, genes, genes + others, max_pathways=2)) == 2

    def test_mouse_symbols_against_human_sets(self, caplog):
        mouse = ["Cd3d", "Cd3e", "Cd3g", "Lck", "Zap70", "Lat", "H2-Aa"]
        sets = collection({"T": ["CD3D", "CD3E", "CD3G", "LCK", "ZAP70", "LAT", "TRAC"]})
        with caplog.at_level("WARNING", "plkd"):
            table = select_pathways(spell_as(sets, mouse), mouse, mouse)
            mask = build_mask("pathways", mouse, gene_sets=sets)
        assert table["overlap"].tolist() == [6]
        assert mask.matrix.toarray()[:, 0].tolist() == [True] * 6 + [False]
        assert "case" in caplog.text

    def test_a_gene_is_spelled_as_the_data_do(self):
        sets = collection({"a": ["C1orf21", "C1ORF54", "CD3D", "cd8a", "ELSE"]})
        measured = ["C1orf21", "C1orf54", "CD3D", "CD8A", "Cd8a"]
        assert spell_as(sets, measured)["a"].genes == ("C1orf21", "C1orf54", "CD3D", "cd8a", "ELSE")

    def test_nothing_in_common(self):
        sets = collection({"T": ["CD3D", "CD3E", "CD3G"]})
        ensembl = [f"ENSG{i:011}" for i in range(20)]
        assert spell_as(sets, ensembl) == sets
        with pytest.raises(InputError) as error:
            select_pathways(sets, ensembl[:10], ensembl)
        for needed in ("CD3D", "ENSG00000000000", "best has 0", "species"):
            assert needed in str(error.value)

    def test_too_few_genes_in_common(self):
        genes = [f"G{i}" for i in range(30)]
        with pytest.raises(InputError, match=r"best has 3.*min_genes"):
            select_pathways(collection({"a": genes[:9]}), genes[6:], genes)

    @pytest.mark.parametrize(
        ("setting", "needed"),
        [
            ({"min_genes": 0}, "min_genes=0"),
            ({"max_genes": 2}, "max_genes=2"),
            ({"max_pathways": 0}, "max_pathways=0"),
            ({"rank_by": "size"}, "coverage"),
        ],
    )
    def test_bad_settings(self, setting, needed):
        sets, genes, background = random_case(0)
        with pytest.raises(InputError, match=needed):
            select_pathways(sets, genes, background, **setting)

    def test_bad_gene_lists(self):
        sets, genes, background = random_case(0)
        with pytest.raises(InputError, match="Q"):
            select_pathways(sets, [*genes, "Q"], background)
        with pytest.raises(InputError, match="each gene once"):
            select_pathways(sets, [genes[0], *genes], background)
        with pytest.raises(InputError, match="at least one gene"):
            select_pathways(sets, [], background)


class TestBuildMask:
    def test_pathways_hold_their_genes_and_nothing_else(self):
        sets, genes, background = random_case(5)
        mask = build_mask("pathways", genes, gene_sets=sets, background=background)
        assert mask.matrix.dtype == bool
        assert mask.matrix.shape == (len(genes), len(mask.tokens))
        for j, name in enumerate(mask.tokens):
            inside = {genes[i] for i in np.flatnonzero(mask.matrix[:, [j]].toarray())}
            assert inside == set(genes) & set(sets[name].genes)
        assert mask.table["name"].tolist() == mask.tokens
        assert mask.density == pytest.approx(mask.matrix.toarray().mean())

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10_000), n_sets=st.integers(5, 60))
    def test_random_keeps_every_size_and_every_gene(self, seed, n_sets):
        sets, genes, background = random_case(seed, n_sets)
        sets |= collection({"always": genes[:7]})
        pathways = build_mask("pathways", genes, gene_sets=sets, background=background)
        shuffled = build_mask("random", genes, gene_sets=sets, background=background, seed=seed)
        for axis in (0, 1):
            assert np.array_equal(
                pathways.matrix.toarray().sum(axis), shuffled.matrix.toarray().sum(axis)
            )
        assert shuffled.matrix.has_sorted_indices

    def test_random_is_seeded_and_forgets_the_pathways(self):
        sets, genes, background = random_case(6)

        def make(kind, seed):
            mask = build_mask(kind, genes, gene_sets=sets, background=background, seed=seed)
            return mask.matrix.toarray()

        assert np.array_equal(make("random", 1), make("random", 1))
        assert not np.array_equal(make("random", 1), make("random", 2))
        pathways, shuffled = make("pathways", 0), make("random", 1)
        shared = (pathways & shuffled).sum() / pathways.sum()
        # By chance a gene stays with the share of pathways that hold it.
        by_chance = (pathways.mean(1, keepdims=True) * pathways).sum() / pathways.sum()
        assert shared < 2 * by_chance

    def test_random_by_density(self):
        genes = [f"G{i}" for i in range(1000)]
        mask = build_mask("random", genes, density=0.015, n_tokens=200, seed=3)
        assert mask.matrix.shape == (1000, 200)
        assert mask.density == pytest.approx(0.015, rel=0.1)
        few = build_mask("random", genes[:10], density=0.001, n_tokens=50)
        assert (few.matrix.toarray().sum(0) >= 1).all()

    @pytest.mark.parametrize(
        "sets", [None, {}, collection({"far": [f"ENSG{i}" for i in range(9)]})]
    )
    def test_without_gene_sets_that_overlap(self, sets, caplog):
        genes = [f"G{i}" for i in range(400)]
        with caplog.at_level("WARNING", "plkd"):
            dense = build_mask("dense", genes, gene_sets=sets, max_pathways=7)
            random = build_mask("random", genes, gene_sets=sets)
            some = build_mask("random", genes, gene_sets=sets, density=0.1, max_pathways=50)
        assert dense.matrix.shape == (400, 7)
        assert dense.matrix.toarray().all()
        assert random.matrix.shape == (400, 300)
        assert random.density == pytest.approx(RANDOM_DENSITY, rel=0.1)
        assert some.density == pytest.approx(0.1, rel=0.1)
        assert caplog.text.count("(max_pathways)") == 3
        assert dense.gene_sets == random.gene_sets == {}
        with pytest.raises(InputError):
            build_mask("pathways", genes, gene_sets=sets)

    def test_ensembl_ids_and_symbols(self):
        ids = ["ENSG00000167286", "ENSG00000198851", "ENSG00000160654", "ENSG00000156738"]
        symbols = ["CD3D", "CD3E", "CD3G", "MS4A1"]
        for genes, named in ((ids, symbols), (symbols, ids)):
            sets = collection({"T": [*named[:3], "ELSE"]})
            mask = build_mask("pathways", genes, gene_sets=sets, min_genes=3)
            assert mask.matrix.toarray()[:, 0].tolist() == [True, True, True, False]
            assert mask.gene_sets["T"].genes == (*genes[:3], "ELSE")

    def test_dense(self):
        sets, genes, background = random_case(7)
        mask = build_mask("dense", genes, n_tokens=4)
        assert mask.matrix.toarray().all()
        assert mask.matrix.shape == (120, 4)
        as_many = build_mask("dense", genes, gene_sets=sets, background=background)
        pathways = build_mask("pathways", genes, gene_sets=sets, background=background)
        assert as_many.matrix.shape == pathways.matrix.shape

    @pytest.mark.parametrize("kind", ["pathways", "random"])
    def test_fully_connected_tokens_come_last(self, kind):
        sets, genes, background = random_case(8)
        kwargs = {"gene_sets": sets, "background": background}
        plain = build_mask(kind, genes, **kwargs)
        mask = build_mask(kind, genes, n_fully_connected=2, **kwargs)
        assert mask.tokens == [*plain.tokens, "fully_connected_1", "fully_connected_2"]
        assert mask.matrix.toarray()[:, -2:].all()
        assert (mask.matrix[:, :-2] != plain.matrix).nnz == 0
        assert mask.table["rank"].tolist() == list(range(1, len(mask.tokens) + 1))

    @pytest.mark.parametrize("kind", ["pathways", "random"])
    def test_uncovered_genes_have_their_token(self, kind):
        sets, genes, background = random_case(8)
        kwargs = {"gene_sets": sets, "background": background, "max_pathways": 5}
        plain = build_mask(kind, genes, **kwargs)
        mask = build_mask(kind, genes, uncovered_token=True, **kwargs)
        assert mask.tokens == [*plain.tokens, "uncovered_genes"]
        assert (mask.matrix[:, :-1] != plain.matrix).nnz == 0
        seen = plain.matrix.toarray().any(axis=1)
        assert 0 < seen.sum() < len(genes)
        np.testing.assert_array_equal(mask.matrix.toarray()[:, -1], ~seen)
        assert mask.table["rank"].tolist() == list(range(1, len(mask.tokens) + 1))
        assert mask.table["overlap"].iloc[-1] == (~seen).sum()

    def test_no_token_where_nothing_is_uncovered(self):
        sets, genes, background = random_case(8)
        kwargs = {"gene_sets": sets, "background": background, "uncovered_token": True}
        dense = build_mask("dense", genes, n_tokens=3, **kwargs)
        assert dense.tokens == ["dense_1", "dense_2", "dense_3"]
        full = build_mask("pathways", genes, n_fully_connected=1, **kwargs)
        assert full.tokens[-1] == "fully_connected_1"

    @pytest.mark.parametrize(
        "settings", [{"uncovered_token": True}, {"n_fully_connected": 1}], ids=str
    )
    def test_a_gene_set_with_the_name_of_another_token(self, settings):
        sets, genes, background = random_case(8)
        chosen = build_mask("pathways", genes, gene_sets=sets, background=background).tokens[0]
        for name in ("uncovered_genes", "fully_connected_1"):
            sets[name] = sets[chosen]
        sets.pop(chosen)
        with pytest.raises(InputError, match="the name of another token"):
            build_mask(
                "pathways", genes, gene_sets=sets, background=background, drop_duplicates=False,
                max_pathways=len(sets), **settings,
            )  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "settings", "needed"),
        [
            ("sparse", {}, "'dense'"),
            ("pathways", {"gene_sets": None}, "needs gene sets.*'dense'"),
            ("pathways", {"density": 0.1}, "density"),
            ("pathways", {"n_tokens": 3}, "max_pathways"),
            ("random", {"density": 0.0}, "above 0"),
            ("dense", {"n_tokens": 0}, "n_tokens"),
            ("pathways", {"n_fully_connected": -1}, "n_fully_connected"),
        ],
    )
    def test_settings_that_contradict_each_other(self, kind, settings, needed):
        sets, genes, background = random_case(0)
        with pytest.raises(InputError, match=needed):
            build_mask(kind, genes, **{"gene_sets": sets, "background": background} | settings)


class TestMaskFiles:
    @pytest.fixture
    def mask(self):
        sets, genes, background = random_case(9)
        background[background.index(genes[0])] = "NA"
        genes[0] = "NA"
        sets |= collection({"nan": ["NA", *genes[1:9]]})
        return build_mask(
            "pathways", genes, gene_sets=sets, background=background, n_fully_connected=1
        )

    def test_round_trip(self, mask, tmp_path):
        mask.save(tmp_path / "mask")
        loaded = Mask.load(tmp_path / "mask")
        assert loaded.genes == mask.genes
        assert loaded.tokens == mask.tokens
        assert loaded.gene_sets == mask.gene_sets
        assert set(mask.tokens) - {"fully_connected_1"} <= set(mask.gene_sets)
        assert loaded.matrix.dtype == bool
        assert loaded.matrix.format == "csc"
        assert (loaded.matrix != mask.matrix).nnz == 0
        # pandas 3 keeps the text of a new table as `str`, that of a file as `object`
        columns = loaded.table.astype(mask.table.dtypes)
        pd.testing.assert_frame_equal(columns, mask.table, check_exact=True)

    def test_the_same_mask_gives_the_same_bytes(self, mask, tmp_path):
        for folder in ("one", "two"):
            mask.save(tmp_path / folder)
        for name in ("mask.npz", "pathways.tsv", "genes.txt", "gene_sets.gmt"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def test_nothing_is_left_of_a_save_that_fails(self, mask, tmp_path):
        mask.genes[-1] = "\udc80"  # half a character: cannot be written
        with pytest.raises(UnicodeEncodeError):
            mask.save(tmp_path / "mask")
        assert list((tmp_path / "mask").iterdir()) == []

    @pytest.mark.parametrize("name", ["mask.npz", "pathways.tsv", "genes.txt"])
    def test_absent_and_damaged_files(self, mask, tmp_path, name):
        mask.save(tmp_path)
        whole = (tmp_path / name).read_bytes()
        for content in (b"", whole[: len(whole) // 2], whole[1:-1], b"\0\xff\xfe" * 40):
            (tmp_path / name).write_bytes(content)
            if content == whole[1:-1] and name == "genes.txt":
                continue  # a first gene without its first letter is a gene as well
            with pytest.raises(InputError, match=re.escape(str(tmp_path))):
                Mask.load(tmp_path)
        for missing in (name, "gene_sets.gmt"):
            (tmp_path / missing).unlink()
            with pytest.raises(InputError, match=missing):
                Mask.load(tmp_path)
            (tmp_path / missing).write_bytes(whole)

    def test_files_of_two_masks(self, mask, tmp_path):
        mask.save(tmp_path / "one")
        other = build_mask("dense", mask.genes, n_tokens=len(mask.tokens))
        other.save(tmp_path / "two")
        (tmp_path / "two" / "mask.npz").rename(tmp_path / "one" / "mask.npz")
        with pytest.raises(InputError, match="belong together"):
            Mask.load(tmp_path / "one")


class TestChooseGeneSets:
    def test_blood_takes_what_is_shipped(self):
        cells = sc.datasets.pbmc68k_reduced().raw.to_adata()
        assert list(choose_gene_sets(list(cells.var_names))) == list(read_gmt(SHIPPED))

    def test_other_genes_do_not(self, caplog):
        symbols = sorted(symbols_of_ids("human").values())
        drawn = np.random.default_rng(0).choice(symbols, 3000, replace=False).tolist()
        with caplog.at_level("WARNING", "plkd"):
            assert choose_gene_sets(drawn) is None
            assert choose_gene_sets(["CD3D", "CD3E", "MS4A1"]) is None
        assert "do not fit" in caplog.text


class TestShippedCollection:
    @pytest.fixture(scope="class")
    def lines(self):
        return [line.split("\t") for line in SHIPPED.read_text().splitlines()]

    def test_form(self, lines):
        assert len(lines) >= 55
        assert len({name for name, *_ in lines}) == len(lines)
        symbol = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)?|C\d+orf\d+")
        for name, description, *genes in lines:
            assert re.fullmatch(r"[A-Za-z0-9_]+", name)
            assert re.fullmatch(r"[A-Z].{20,}\.", description), name
            assert 10 <= len(genes) <= 60, name
            assert len(set(genes)) == len(genes), name
            assert [gene for gene in genes if not symbol.fullmatch(gene)] == [], name

    def test_enough_pathways_for_the_embedded_data(self):
        import scanpy

        path = Path(scanpy.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
        genes = anndata.read_h5ad(path).var_names.tolist()
        assert len(select_pathways(read_gmt(SHIPPED), genes, genes)) >= 45

    @pytest.mark.real_data
    def test_symbols_are_real(self, lines, real_data):
        known = set()
        for path in (real_data / "gmt").glob("*.gmt"):
            known.update(g for gene_set in read_gmt(path).values() for g in gene_set.genes)
        bed = (real_data / "hg19_genes.bed").read_text().splitlines()
        known.update(line.split("\t")[3] for line in bed)
        # Receptor segments, mitochondrial genes and names newer than those files.
        newer = re.compile(r"(IG[KL]|TR[ABDG])[VC].*|IGH[VADEGM].*|MT-.*|RIGI|GBA1|PHB1|WARS1")
        unknown = {g for _, _, *genes in lines for g in genes} - known
        assert {gene for gene in unknown if not newer.fullmatch(gene)} <= set()


@pytest.mark.real_data
def test_reactome_on_blood_cells(real_data):
    with h5py.File(real_data / "pbmc_two_studies.h5ad") as file:
        measured = read_elem(file["var"]).index.tolist()
        counts = read_elem(file["X"])
    detected = np.asarray((sparse.csr_matrix(counts) > 0).mean(axis=0)).ravel()
    genes = [measured[i] for i in np.argsort(-detected)[:2000]]
    sets = read_gmt(real_data / "gmt" / "reactome.gmt")
    mask = build_mask("pathways", genes, gene_sets=sets, background=measured)
    assert 100 < len(mask.tokens) <= 300
    assert 0.002 < mask.density < 0.05
    assert mask.table["adjusted_p_value"].iloc[0] < 1e-5  # ribosome, translation
    assert mask.table["p_value"].is_monotonic_increasing


def test_script_makes_mask_and_figure(tmp_path):
    import mask as script

    genes = ["CD3D", "CD3E", "CD3G", "CD2", "LCK", "ZAP70", "NA"]
    cells = anndata.AnnData(sparse.csr_matrix((3, 7)), var=pd.DataFrame(index=genes))
    cells.write_h5ad(tmp_path / "reference.h5ad")
    pd.DataFrame({"gene": [*genes, "nan", "MS4A1"]}).to_csv(
        tmp_path / "genes.tsv", sep="\t", index=False
    )
    out = tmp_path / "out"
    snakemake = SimpleNamespace(
        input=SimpleNamespace(
            reference=str(tmp_path / "reference.h5ad"),
            genes=str(tmp_path / "genes.tsv"),
            gene_sets=str(SHIPPED),
        ),
        params=SimpleNamespace(mask={"kind": "pathways", "n_fully_connected": 1, "seed": 0}),
        output=SimpleNamespace(
            mask=str(out / "mask.npz"),
            pathways=str(out / "pathways.tsv"),
            genes=str(out / "genes.txt"),
            png=str(out / "pathways.png"),
            pdf=str(out / "pathways.pdf"),
        ),
    )
    script.main(snakemake)
    made = Mask.load(out)
    assert made.genes == genes
    assert {"T_cells", "fully_connected_1"} <= set(made.tokens)
    assert Path(snakemake.output.png).read_bytes().startswith(b"\x89PNG")
    assert Path(snakemake.output.pdf).read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("kind", ["pathways", "random"])
def test_figure_of_one_pathway_and_of_untested_ones(tmp_path, kind):
    sets = collection({"THE_ONLY_SET": ["A", "B", "C"]})
    mask = build_mask(
        kind, ["A", "B", "C"], gene_sets=sets, background=["A", "B", "C", "D"], min_genes=2
    )
    with style():
        save_figure(plot_pathways(mask.table), tmp_path / "p.png", tmp_path / "p.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.pdf", "p.png"]


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("REACTOME_PD1_SIGNALING", "Reactome PD1 signaling"),
        ("REACTOME_MHC_CLASS_II_AND_A_B_CELL_MRNA", "Reactome MHC class II and a B cell mRNA"),
        ("granulocyte chemotaxis (GO:0071621)", "Granulocyte chemotaxis"),
        ("mRNA_splicing", "mRNA splicing"),
        ("NK_cells_CD56dim", "NK cells CD56dim"),
        ("A" * 60, "A" * 47 + "…"),
    ],
)
def test_readable_names(name, readable):
    assert readable_name(name) == readable


def test_coverage_leaves_out_tokens_that_are_no_pathways() -> None:
    matrix = np.zeros((10, 4), dtype=bool)
    matrix[:3, 0] = matrix[2:5, 1] = True
    matrix[:, 2] = True  # sees every gene
    matrix[5:, 3] = True
    tokens = ["one", "two", "everything", UNCOVERED]
    covered, words = coverage(sparse.csc_array(matrix), tokens)
    assert covered == 5
    assert words == "pathways cover 5 of 10 genes (50%)"
    matrix[4, 1] = False
    covered, words = coverage(sparse.csc_array(matrix), tokens)
    assert covered == 4
    assert "explain little" in words

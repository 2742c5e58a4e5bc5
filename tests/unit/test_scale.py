from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from plkd.errors import InputError
from plkd.io.counts import not_zero, recover_counts
from plkd.io.normalisation import log_normalised_genes, require_usable, to_log_normalised
from plkd.io.scale import MatrixScale, detect_scale, outlying_rows
from simulated import make_cells


@pytest.fixture(scope="module")
def counts() -> sparse.csr_matrix:
    return make_cells(300, 400, types=4, depth=1500).X


def normalised(counts: sparse.csr_matrix, target_sum: float | None) -> sparse.csr_matrix:
    adata = ad.AnnData(counts.copy())
    sc.pp.normalize_total(adata, target_sum=target_sum)
    return adata.X


def logged(counts: sparse.csr_matrix, target_sum: float | None = 1e4) -> sparse.csr_matrix:
    return normalised(counts, target_sum).log1p()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16])
def test_counts_of_any_type(counts: sparse.csr_matrix, dtype: type) -> None:
    scale = detect_scale(counts.astype(dtype))
    assert (scale.kind, scale.minimum, scale.maximum) == ("counts", 0, counts.max())
    assert scale.usable
    assert detect_scale(counts.astype(dtype).toarray()).kind == "counts"
    assert detect_scale(counts.astype(dtype).tocsc()).kind == "counts"


@pytest.mark.parametrize("target_sum", [1e4, 1e6, 2345.0])
def test_log1p_with_known_total(counts: sparse.csr_matrix, target_sum: float) -> None:
    scale = detect_scale(logged(counts, target_sum))
    assert scale.kind == "log1p"
    assert scale.target_sum == pytest.approx(target_sum, rel=1e-3)
    assert scale.counts_recoverable
    assert not scale.logged_counts


def test_log1p_of_some_genes_only(counts: sparse.csr_matrix) -> None:
    scale = detect_scale(logged(counts)[:, 100:])
    assert (scale.kind, scale.target_sum, scale.counts_recoverable) == ("log1p", None, True)


def test_log1p_of_corrected_counts_by_its_range(counts: sparse.csr_matrix) -> None:
    noise = np.random.default_rng(0)
    corrected = counts.copy()
    corrected.data *= noise.lognormal(0, 0.3, corrected.nnz).astype(np.float32)
    scale = detect_scale(logged(corrected)[:, 100:])
    assert (scale.kind, scale.target_sum, scale.counts_recoverable) == ("log1p", None, False)
    assert detect_scale(corrected * 3).kind == "linear"
    assert detect_scale(logged(corrected)).target_sum == pytest.approx(1e4, rel=1e-3)


@pytest.mark.parametrize("base", [2.0, 10.0])
def test_other_bases(counts: sparse.csr_matrix, base: float) -> None:
    X = logged(counts) / math.log(base)
    scale = detect_scale(X)
    assert (scale.kind, scale.log_base) == ("log1p", base)
    result = to_log_normalised(X, scale)
    np.testing.assert_allclose(result.toarray(), logged(counts).toarray(), rtol=1e-4)


@pytest.mark.parametrize("target_sum", [1.0, 1e4, 1e6])
def test_linear_values(counts: sparse.csr_matrix, target_sum: float) -> None:
    scale = detect_scale(normalised(counts, target_sum))
    assert scale.kind == "linear"
    assert scale.target_sum == pytest.approx(target_sum, rel=1e-3)
    assert scale.counts_recoverable


def test_log1p_of_raw_counts_is_normalised_after_all(counts: sparse.csr_matrix) -> None:
    X = counts.log1p()
    scale = detect_scale(X)
    assert (scale.kind, scale.logged_counts) == ("log1p", True)
    np.testing.assert_allclose(
        to_log_normalised(X, scale).toarray(), logged(counts).toarray(), rtol=1e-5
    )


def test_scaled_and_invalid_have_messages_of_their_own(counts: sparse.csr_matrix) -> None:
    dense = logged(counts).toarray()
    scaled = detect_scale((dense - dense.mean(0)) / (dense.std(0) + 1e-9))
    negative = counts.copy()
    negative.data[::50] *= -1
    subtracted = detect_scale(negative)
    broken = counts.copy()
    broken.data[3] = np.nan
    broken.data[5] = np.inf
    nonfinite = detect_scale(broken)
    assert (scaled.kind, subtracted.kind, nonfinite.kind) == ("scaled", "invalid", "invalid")
    assert "of which 2 are missing" in nonfinite.describe()
    assert f"of which {len(negative.data[::50]):,} are negative" in subtracted.describe()
    messages = []
    for scale in (scaled, subtracted, nonfinite):
        with pytest.raises(InputError) as error:
            require_usable(scale, "'x.h5ad' (X)", {"layer: counts": detect_scale(counts)})
        messages.append(str(error.value))
    assert all("x.h5ad" in m and "layer: counts" in m for m in messages)
    for words, message in zip(("z-scores", "negative", "NaN"), messages, strict=True):
        assert words in message
    assert "z-scores" not in messages[1]
    with pytest.raises(InputError, match="no other matrix"):
        require_usable(scaled, "x", {})


def corrected(counts: sparse.csr_matrix, spread: float = 0.3) -> sparse.csr_matrix:
    """Counts of which every value is some per cent off, so that nothing is a multiple of it."""
    noisy = counts.copy()
    noise = np.random.default_rng(0).lognormal(0, spread, noisy.nnz)
    noisy.data = (noisy.data * noise).astype(np.float32)
    return noisy


@pytest.mark.parametrize("odd", ["a cell times 20", "a value of 60", "a cell of counts"])
@pytest.mark.parametrize("stored", ["all genes", "some genes", "corrected"])
def test_one_odd_cell_decides_nothing(counts: sparse.csr_matrix, odd: str, stored: str) -> None:
    X = logged(corrected(counts) if stored == "corrected" else counts)
    X = X if stored == "all genes" else X[:, 100:]
    expected = detect_scale(X)
    row = slice(X.indptr[30], X.indptr[31])
    if odd == "a cell times 20":
        X.data[row] *= 20
    elif odd == "a value of 60":
        X.data[X.indptr[30]] = 60
    else:
        X.data[row] = np.rint(np.expm1(X.data[row])) + 1
    scale = detect_scale(X)
    assert scale.target_sum == pytest.approx(expected.target_sum)
    same = {"maximum": expected.maximum, "target_sum": expected.target_sum}
    assert replace(scale, **same) == expected
    assert list(np.flatnonzero(outlying_rows(X, scale))) == [30]


@pytest.mark.parametrize("kind", ["counts", "log1p"])
def test_one_odd_cell_of_a_few(counts: sparse.csr_matrix, kind: str) -> None:
    most, odd = (counts, logged(counts)) if kind == "counts" else (logged(counts), counts)
    X = sparse.vstack([most[:6], odd[6:7], most[7:8]], format="csr")
    assert detect_scale(X).kind == kind
    assert list(np.flatnonzero(outlying_rows(X, detect_scale(X)))) == [6]


def test_a_fraction_among_counts_is_odd(counts: sparse.csr_matrix) -> None:
    X = counts.copy()
    X.data[X.indptr[30]] = 0.5
    assert detect_scale(X).kind == "counts"
    assert list(np.flatnonzero(outlying_rows(X, detect_scale(X)))) == [30]
    assert not outlying_rows(counts, detect_scale(counts)).any()


@pytest.mark.parametrize("depth", [60, 300, 1500])
def test_fractional_counts_are_not_logged(depth: float) -> None:
    counts = make_cells(300, 400, types=4, depth=depth).X
    profile = np.asarray(counts.sum(0)).ravel() / counts.sum()
    ambient = 0.1 * np.asarray(counts.sum(1)) * profile
    for X in (
        corrected(counts),
        sparse.csr_matrix(np.maximum(counts.toarray() - ambient, 0)),  # SoupX
        sparse.csr_matrix(np.random.default_rng(0).gamma(5, counts.toarray() / 5 + 0.01)),  # scVI
    ):
        scale = detect_scale(X)
        assert (scale.kind, scale.certainty) == ("linear", "likely" if depth > 60 else ANY)
        assert not outlying_rows(X, scale).any()


def test_estimated_counts_are_linear(counts: sparse.csr_matrix) -> None:
    """Of salmon or RSEM: whole numbers but for some genes that share their reads."""
    X = counts.copy()
    X.data[np.isin(X.indices, np.arange(0, 400, 5))] *= np.float32(0.83)
    assert detect_scale(X).kind == "linear"


@pytest.mark.parametrize("base", ["log1p", "log2"])
def test_logarithms_of_tpm_of_some_genes(counts: sparse.csr_matrix, base: str) -> None:
    """Values of 15 and more; every gene has a length, so no value is a multiple of a count."""
    length = np.random.default_rng(0).lognormal(7, 0.8, 400)
    tpm = counts.multiply(1 / length).tocsr()
    tpm = tpm.multiply(1e6 / tpm.sum(1)).tocsr().astype(np.float32)[:, 100:]
    X = tpm.log1p() if base == "log1p" else tpm.log1p() / math.log(2)
    scale = detect_scale(X)
    assert (scale.kind, scale.log_base) == ("log1p", math.e if base == "log1p" else 2.0)
    assert scale.certainty == "likely"
    assert scale.doubts()
    expected = normalised(tpm, 1e4).log1p()
    np.testing.assert_allclose(to_log_normalised(X, scale).toarray(), expected.toarray(), rtol=1e-4)


@pytest.mark.parametrize("n_cells", [1, 2, 3, 4])
@pytest.mark.parametrize("target_sum", [1e4, 1e6, 2345.0])
def test_few_cells_are_rescaled(counts: sparse.csr_matrix, n_cells: int, target_sum: float) -> None:
    X = logged(counts, target_sum)[:n_cells]
    result = to_log_normalised(X, detect_scale(X))
    np.testing.assert_allclose(result.toarray(), logged(counts)[:n_cells].toarray(), rtol=1e-3)


def test_cells_that_were_normalised_to_several_totals(counts: sparse.csr_matrix) -> None:
    X = sparse.vstack([logged(counts)[:150], logged(counts, 1e6)[150:]], format="csr")
    scale = detect_scale(X)
    assert (scale.kind, scale.target_sum, scale.own_totals) == ("log1p", None, True)
    np.testing.assert_allclose(
        to_log_normalised(X, scale).toarray(), logged(counts).toarray(), rtol=1e-4
    )


def test_counts_beside_logarithms_are_refused(counts: sparse.csr_matrix) -> None:
    X = sparse.vstack([counts[:100], logged(counts)[100:]], format="csr")
    with pytest.raises(InputError, match="of two kinds: 33% of the cells hold whole numbers"):
        require_usable(detect_scale(X), "x")


def test_values_far_from_the_others_do_not_overflow(counts: sparse.csr_matrix) -> None:
    X = logged(counts, 1e6)
    X.data[0] = 5000.0
    assert np.isfinite(to_log_normalised(X, detect_scale(X)).data).all()


@pytest.mark.parametrize("told", ["counts", "log1p", "log2", "log10", "linear"])
def test_what_the_user_says(counts: sparse.csr_matrix, told: str) -> None:
    noisy = logged(corrected(counts))[:, 100:]
    divisor = {"log2": math.log(2), "log10": math.log(10)}.get(told, 1.0)
    X = counts if told == "counts" else noisy / divisor
    scale = detect_scale(X, told=told)
    assert scale.certainty == "told"
    assert not [text for text in scale.doubts() if "prove" in text]
    expected = {"linear": logged(X), "counts": logged(counts)}.get(told, noisy)
    np.testing.assert_allclose(to_log_normalised(X, scale).toarray(), expected.toarray(), rtol=1e-4)


def test_what_the_user_says_and_cannot_be(counts: sparse.csr_matrix) -> None:
    with pytest.raises(InputError, match="says counts, but the values of 100% of the cells"):
        detect_scale(logged(counts), told="counts")
    with pytest.raises(InputError, match="says log1p, but most cells have values above 15"):
        detect_scale(counts * 10, told="log1p")


def test_text_is_refused() -> None:
    with pytest.raises(InputError, match="not numbers"):
        detect_scale(np.array([["1", "2"]], dtype=object))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 3)])
def test_nothing_inside(shape: tuple[int, int]) -> None:
    empty = sparse.csr_matrix(shape, dtype=np.float32)
    scale = detect_scale(empty)
    assert scale.kind == "counts"
    assert to_log_normalised(empty, scale).shape == shape


def test_a_description_is_ready_for_json() -> None:
    for kind in ("counts", "log1p", "linear", "scaled", "invalid"):
        scale = MatrixScale(kind, math.nan, math.inf)
        assert scale.describe()
        assert json.loads(json.dumps(scale.as_dict(), allow_nan=False))["kind"] == kind


@pytest.mark.parametrize("target_sum", [1e4, 1e6, 777.0])
@pytest.mark.parametrize("is_logged", [True, False])
def test_counts_come_back(counts: sparse.csr_matrix, target_sum: float, is_logged: bool) -> None:
    X = (logged if is_logged else normalised)(counts, target_sum)
    back = recover_counts(X, logged=is_logged)
    assert back is not None
    np.testing.assert_array_equal(back.toarray(), counts.toarray())
    assert back.dtype == np.float32


def test_counts_come_back_where_the_smallest_is_not_one() -> None:
    deep = sparse.csr_matrix(np.array([[2, 3, 40, 7], [1, 1, 2, 0], [0, 0, 0, 0], [9, 5, 6, 7]]))
    back = recover_counts(logged(deep.astype(np.float32)))
    assert back is not None
    np.testing.assert_array_equal(back.toarray(), deep.toarray())


def test_counts_come_back_from_three_decimals(counts: sparse.csr_matrix) -> None:
    X = logged(counts)
    X.data = X.data.astype(np.float64).round(3)
    back = recover_counts(X)
    assert back is not None
    difference = np.abs(back - counts).toarray()
    assert np.all(difference[counts.toarray() < 100] == 0)


def test_counts_that_are_gone_do_not_come_back(counts: sparse.csr_matrix) -> None:
    X = logged(counts)
    X.data += np.random.default_rng(0).uniform(0, 0.3, X.nnz).astype(np.float32)
    assert recover_counts(X) is None


def test_normalisation_equals_scanpy(counts: sparse.csr_matrix) -> None:
    expected = logged(counts).toarray()
    for X in (counts, counts.astype(np.int64), logged(counts, 1e6), normalised(counts, 1e6)):
        result = to_log_normalised(X, detect_scale(X))
        assert (result.dtype, result.format) == (np.float32, "csr")
        np.testing.assert_allclose(result.toarray(), expected, rtol=2e-5)


def test_logged_values_of_the_right_or_unknown_total_are_not_touched(
    counts: sparse.csr_matrix,
) -> None:
    for X in (logged(counts), logged(counts)[:, 100:]):
        np.testing.assert_array_equal(to_log_normalised(X, detect_scale(X)).data, X.data)


def test_totals_of_all_genes_make_up_for_absent_ones(counts: sparse.csr_matrix) -> None:
    totals = np.asarray(counts.sum(1)).ravel()
    part = to_log_normalised(counts[:, :50], detect_scale(counts), totals=totals)
    np.testing.assert_allclose(part.toarray(), logged(counts)[:, :50].toarray(), rtol=1e-5)


@pytest.mark.parametrize("stored", ["counts", "integers", "log1p", "raw logged", "of a million"])
def test_some_genes_are_as_all_are_of_which_some_are_taken(
    counts: sparse.csr_matrix, stored: str
) -> None:
    X = {
        "counts": lambda: counts,
        "integers": lambda: counts.astype(np.int16),
        "log1p": lambda: logged(counts),
        "raw logged": lambda: counts.log1p(),
        "of a million": lambda: logged(counts, 1e6),
    }[stored]()
    before, scale = X.copy(), detect_scale(X)
    columns = np.full(400, -1)
    columns[[3, 390, 17, 18]] = [2, 0, 1, 4]  # the fourth gene is not there
    found = log_normalised_genes(X, scale, columns, 5)
    expected = np.zeros((300, 5), dtype=np.float32)
    expected[:, [2, 0, 1, 4]] = to_log_normalised(X, scale)[:, [3, 390, 17, 18]].toarray()
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.dtype == np.float32
    assert (before != X).nnz == 0


def test_chunks_equal_the_whole(counts: sparse.csr_matrix) -> None:
    scale = detect_scale(counts)
    chunks = [to_log_normalised(counts[i : i + 37], scale) for i in range(0, 300, 37)]
    whole = to_log_normalised(counts, scale)
    np.testing.assert_array_equal(sparse.vstack(chunks).toarray(), whole.toarray())


def test_values_that_are_not_zero_are_counted_in_every_row() -> None:
    X = sparse.csr_matrix(np.array([[0, 0, 0], [1, 2, 0], [0, 5, 0], [3, 0, 3]], dtype=np.float32))
    X.data[[1, 2]] = 0  # stored zeros
    np.testing.assert_array_equal(not_zero(X), [0, 1, 0, 2])
    np.testing.assert_array_equal(not_zero(X[:0]), [])


def test_input_is_not_modified_and_empty_rows_stay_empty(counts: sparse.csr_matrix) -> None:
    X = counts.copy()
    X.data[X.indptr[4] : X.indptr[5]] = 0
    before = X.data.copy()
    result = to_log_normalised(X, detect_scale(X))
    np.testing.assert_array_equal(X.data, before)
    assert result[4].nnz == 0


def test_a_chunk_that_contradicts_the_scale_is_refused(counts: sparse.csr_matrix) -> None:
    scale = detect_scale(counts)
    for value, words in ((-1, "negative"), (np.nan, "NaN")):
        X = counts[:5].copy()
        X.data[0] = value
        with pytest.raises(InputError, match=words):
            to_log_normalised(X, scale)
    with pytest.raises(InputError, match="use_raw"):
        to_log_normalised(counts, MatrixScale("scaled", -1, 1))


def test_scanpy_example_is_scaled_with_logged_raw() -> None:
    adata = sc.datasets.pbmc68k_reduced()
    assert detect_scale(adata.X).kind == "scaled"
    scale = detect_scale(adata.raw.X)
    assert (scale.kind, scale.counts_recoverable) == ("log1p", True)
    assert recover_counts(adata.raw.X) is not None


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        "pbmc_two_studies",
        "pbmc_kang_ctrl_8donors",
        "spatial_starmap_mpfc_3slices",
        "atac_hematopoiesis_granja_10kpeaks",
    ],
)
def test_real_counts(real_data: Path, name: str) -> None:
    assert detect_scale(ad.read_h5ad(real_data / f"{name}.h5ad").X).kind == "counts"


@pytest.mark.real_data
def test_real_logged_values(real_data: Path) -> None:
    adata = ad.read_h5ad(real_data / "symphony_pbmc.h5ad")
    scale = detect_scale(adata.X)
    assert (scale.kind, scale.target_sum) == ("log1p", None)
    counts = recover_counts(adata.X)
    assert counts is not None
    by_depth = adata.X.expm1().multiply(adata.obs[["nUMI"]].to_numpy() / 1e4)
    np.testing.assert_allclose(counts.toarray(), by_depth.toarray(), atol=0.05, rtol=1e-3)

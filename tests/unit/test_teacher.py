"""Teacher, Navigator and Student against a plain dense implementation and the paper's numbers."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

from dense_teacher import DenseTeacher, gradient_pairs, split_entries
from plkd.model.navigator import Navigator
from plkd.model.student import Student
from plkd.model.teacher import AttentionLayer, Teacher
from plkd.settings.models import StudentSettings, TeacherSettings
from plkd.settings.presets import AUTHORS_CODE, resolve

N_GENES = 17


def random_mask(seed: int, n_genes: int = N_GENES, n_tokens: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random((n_genes, n_tokens)) < rng.uniform(0.05, 0.8, n_tokens)
    mask[rng.integers(n_genes, size=n_tokens), np.arange(n_tokens)] = True
    return mask


def single_genes() -> np.ndarray:
    mask = random_mask(1)
    mask[:, :3] = False
    mask[[4, 4, 0], [0, 1, 2]] = True
    return mask


def genes_without_pathway() -> np.ndarray:
    mask = random_mask(2)
    mask[[0, 7, N_GENES - 1]] = False
    mask[3] |= ~mask.any(axis=0)
    return mask


def all_genes() -> np.ndarray:
    mask = random_mask(3)
    mask[:, 5] = True
    return mask


def identical_pathways() -> np.ndarray:
    mask = random_mask(4)
    mask[:, 6] = mask[:, 2]
    mask[:, 0] = mask[:, 2]
    return mask


MASKS = {
    "random": random_mask(0),
    "single genes": single_genes(),
    "genes without pathway": genes_without_pathway(),
    "all genes": all_genes(),
    "identical pathways": identical_pathways(),
    "one token": random_mask(5, n_tokens=1),
    "dense": np.ones((N_GENES, 4), dtype=bool),
}


def make_teacher(
    mask: np.ndarray,
    settings: TeacherSettings,
    dtype: torch.dtype,
    seed: int = 0,
    n_labels: int = 4,
) -> Teacher:
    """A Teacher in which no weight has a value that could hide a mistake (zero biases, unit
    norms)."""
    torch.manual_seed(seed)
    teacher = Teacher(sparse.csc_array(mask), n_labels, settings).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name != "navigator.weight":
                parameter.add_(0.1 * torch.randn_like(parameter))
    return teacher


def compare(
    mask: np.ndarray,
    settings: TeacherSettings,
    dtype: torch.dtype,
    tolerance: float,
    n_cells: int = 5,
    seed: int = 0,
) -> None:
    """The Teacher in `dtype` against the dense one in float64, in value and gradient."""
    teacher = make_teacher(mask, settings, dtype, seed)
    dense = DenseTeacher(copy.deepcopy(teacher).double(), settings)
    x = torch.rand(n_cells, mask.shape[0], dtype=dtype) * 3
    x_dense = x.double().requires_grad_()
    x.requires_grad_()
    logits, embedding = teacher(x)
    expected = dense(x_dense)
    assert relative(logits, expected.logits) < tolerance
    assert relative(embedding, expected.embedding) < tolerance

    torch.manual_seed(99)
    upstream = torch.randn(logits.shape), torch.randn(embedding.shape)
    torch.autograd.backward([logits, embedding], [part.to(dtype) for part in upstream])
    torch.autograd.backward(
        [expected.logits, expected.embedding], [part.double() for part in upstream]
    )
    pairs = gradient_pairs(teacher, dense)
    assert x.grad is not None
    assert x_dense.grad is not None
    pairs["x"] = (x.grad, x_dense.grad)
    largest = max(float(right.abs().max()) for _, right in pairs.values())
    for name, (left, right) in pairs.items():
        # key biases cancel in the softmax: their gradient is zero but for rounding
        floor = largest if name.endswith("key.bias") else 1e-2 * largest
        assert relative(left, right, floor) < tolerance, name


def relative(found: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    assert found.shape == expected.shape
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).abs().max()) / max(float(expected.abs().max()), floor)


GRID = list(
    itertools.product([1, 2, 3], [1, 2, 4], ["bare", "prenorm"], [0.0, 4.0], ["head", "width"])
)


@pytest.mark.parametrize(("depth", "heads", "block", "mlp_ratio", "scale"), GRID)
def test_agrees_with_dense_attention(depth, heads, block, mlp_ratio, scale):
    settings = TeacherSettings(
        width=8, depth=depth, heads=heads, block=block, mlp_ratio=mlp_ratio, attention_scale=scale
    )
    compare(MASKS["random"], settings, torch.float64, 1e-10)
    compare(MASKS["random"], settings, torch.float32, 1e-5)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("n_cells", [1, 6])
def test_agrees_for_odd_masks_and_a_single_cell(name, depth, n_cells):
    settings = TeacherSettings(width=6, depth=depth, heads=2)
    compare(MASKS[name], settings, torch.float64, 1e-10, n_cells=n_cells)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("token_norm", "final_norm", "pre_logits"), itertools.product([False, True], repeat=3)
)
def test_agrees_with_norms_and_pre_logits(depth, token_norm, final_norm, pre_logits):
    settings = TeacherSettings(
        width=6,
        depth=depth,
        token_norm=token_norm,
        final_norm=final_norm,
        pre_logits=pre_logits,
    )
    compare(MASKS["random"], settings, torch.float64, 1e-10)


@hypothesis_settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_genes=st.integers(1, 60), n_tokens=st.integers(1, 40))
def test_agrees_for_any_mask(seed, n_genes, n_tokens):
    settings = TeacherSettings(width=4, depth=1 + seed % 2, heads=2)
    compare(random_mask(seed, n_genes, n_tokens), settings, torch.float64, 1e-10, seed=seed)


@pytest.mark.parametrize("preset", ["paper", "authors_code", "default"])
def test_presets_agree_at_their_own_size(preset):
    compare(random_mask(7, 300, 40), resolve({"preset": preset}).teacher, torch.float32, 1e-5)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("token_norm", [False, True])
def test_a_token_depends_on_the_genes_of_its_pathway_and_on_no_other(name, token_norm):
    mask = MASKS[name]
    settings = TeacherSettings(width=6, token_norm=token_norm)
    teacher = make_teacher(mask, settings, torch.float64)
    x = torch.rand(1, mask.shape[0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(teacher.tokens, x)[0, :, :, 0]
    depends = (jacobian != 0).any(dim=1).T  # (genes, tokens)
    assert np.array_equal(depends.numpy(), mask)
    if not token_norm:
        for token, weights in enumerate(split_entries(teacher.navigator)):
            torch.testing.assert_close(jacobian[token][:, mask[:, token]].T, weights)


def test_padding_takes_no_gradient_and_keeps_out_of_the_result():
    navigator = Navigator(sparse.csc_array(MASKS["random"]), 4)
    padding = torch.from_numpy(navigator._entry_of_row < 0)
    assert padding.any()
    x = torch.rand(3, N_GENES)
    before = navigator(x)
    before.pow(2).sum().backward()
    assert navigator.weight.grad is not None
    assert not navigator.weight.grad[padding].any()
    with torch.no_grad():
        navigator.weight[padding] = 1e6
    torch.testing.assert_close(navigator(x), before, rtol=0, atol=0)


def test_entry_weights_and_biases_can_be_read_and_set_again():
    mask = sparse.csc_array(MASKS["random"])
    first, second = Navigator(mask, 5), Navigator(mask, 5)
    x = torch.rand(4, N_GENES)
    assert not torch.allclose(first(x), second(x))
    second.load_entry_weights(first.entry_weights())
    second.load_token_bias(first.token_bias())
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)


def test_explicit_zeros_of_the_mask_are_outside_and_the_mask_is_left_alone():
    mask = sparse.csc_array(MASKS["random"])
    mask.data[[0, 4]] = False
    given_entries = mask.indices.copy(), mask.data.copy()
    navigator = Navigator(mask, 3)
    assert navigator.mask().nnz == mask.toarray().sum()
    assert np.array_equal(navigator.mask().toarray(), mask.toarray())
    assert np.array_equal(mask.indices, given_entries[0])
    assert np.array_equal(mask.data, given_entries[1])

    unsorted = sparse.csc_array(
        (np.ones(3, dtype=bool), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(4, 2)
    )
    Navigator(unsorted, 3)
    assert unsorted.indices.tolist() == [2, 0, 1]


def test_a_pathway_without_genes_is_refused():
    mask = MASKS["random"].copy()
    mask[:, 2] = False
    with pytest.raises(ValueError, match="at least one gene"):
        Navigator(sparse.csc_array(mask), 4)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("block", ["bare", "prenorm"])
def test_view_tokens_agrees_with_forward_and_dense(depth, block):
    settings = TeacherSettings(width=8, depth=depth, heads=4, block=block)
    teacher = make_teacher(MASKS["random"], settings, torch.float64)
    x = torch.rand(3, N_GENES, dtype=torch.float64)
    expected = DenseTeacher(teacher, settings)(x, with_attention=True)
    view = teacher.view_tokens(x)
    torch.testing.assert_close(view.tokens, teacher.tokens(x))
    torch.testing.assert_close(view.tokens, expected.tokens, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(view.updated, expected.updated, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(view.attention, expected.attention, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(view.attention.sum(dim=3), torch.ones(3, 4, 10, dtype=torch.float64))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("block", ["bare", "prenorm"])
@pytest.mark.parametrize("token_norm", [False, True])
def test_cell_attention_is_the_last_row_of_the_full_maps(depth, block, token_norm):
    settings = TeacherSettings(width=8, depth=depth, heads=4, block=block, token_norm=token_norm)
    teacher = make_teacher(MASKS["random"], settings, torch.float64)
    x = torch.rand(3, N_GENES, dtype=torch.float64)
    found = teacher.cell_attention(teacher.tokens(x))
    expected = teacher.view_tokens(x).attention[:, :, -1]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_eval_is_deterministic_and_training_is_not():
    settings = TeacherSettings(
        width=8, depth=2, token_dropout=0.5, attention_dropout=0.5, drop_path=0.5
    )
    teacher = make_teacher(MASKS["random"], settings, torch.float32)
    x = torch.rand(4, N_GENES)
    assert torch.equal(teacher(x)[0], teacher(x)[0])
    without = make_teacher(MASKS["random"], TeacherSettings(width=8, depth=2), torch.float32)
    assert torch.equal(teacher(x)[0], without(x)[0])
    teacher.train()
    assert not torch.equal(teacher(x)[0], teacher(x)[0])


def test_attention_dropout_has_the_expectation_of_eval():
    settings = TeacherSettings(
        width=8, block="bare", mlp_ratio=0.0, final_norm=False, attention_dropout=0.4
    )
    teacher = make_teacher(MASKS["random"], settings, torch.float32)
    x = torch.rand(1, N_GENES).expand(20_000, -1)  # dropout is drawn per cell
    expected = teacher(x[:1])[1][0]
    draws = teacher.train()(x)[1]
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert (draws.std(dim=0) > 0).all()
    assert ((draws.mean(dim=0) - expected).abs() < 5 * error).all()


def test_attention_dropout_of_the_short_way_is_distributed_as_in_full_attention():
    settings = TeacherSettings(width=8, block="bare", mlp_ratio=0.0, attention_dropout=0.5)
    teacher = make_teacher(MASKS["random"], settings, torch.float32).train()
    tokens = teacher.tokens(torch.rand(1, N_GENES)).expand(20_000, -1, -1).detach()
    layer = teacher.layers[0]
    joined = torch.cat([tokens, teacher.cell.expand(len(tokens), 1, -1)], dim=1)
    short = layer.cell_token(joined, teacher.cell)
    full = layer.all_tokens(joined)[0][:, -1]
    spread = full.std(dim=0)
    assert ((short.mean(dim=0) - full.mean(dim=0)).abs() < 7 * spread / len(tokens) ** 0.5).all()
    torch.testing.assert_close(short.std(dim=0), spread, rtol=0.05, atol=0.0)


def test_drop_path_leaves_a_branch_out_or_scales_it_up():
    settings = TeacherSettings(width=8, block="prenorm", mlp_ratio=0.0)
    torch.manual_seed(0)
    layer = AttentionLayer(settings, drop_path=0.75)
    cell = torch.randn(1, 8)
    tokens = torch.cat([torch.randn(1, 5, 8), cell[None]], dim=1).expand(4000, -1, -1)
    branch = layer.eval().cell_token(tokens[:1], cell) - cell
    out = layer.train().cell_token(tokens, cell) - cell
    kept = (out != 0).any(dim=1)
    assert kept.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(out[kept], 4 * branch.expand_as(out[kept]), rtol=1e-4, atol=1e-5)


def test_dropped_depth_rises_from_the_first_layer():
    teacher = make_teacher(
        MASKS["random"], TeacherSettings(width=8, depth=3, drop_path=0.4), torch.float32
    )
    assert [layer.drop_path for layer in teacher.layers] == pytest.approx([0.0, 0.2, 0.4])


def test_input_scale_multiplies_the_genes():
    mask = sparse.csc_array(MASKS["random"])
    scale = torch.rand(N_GENES) + 0.5
    torch.manual_seed(1)
    scaled = Teacher(mask, 3, TeacherSettings(width=8), scale)
    torch.manual_seed(1)
    plain = Teacher(mask, 3, TeacherSettings(width=8))
    x = torch.rand(4, N_GENES)
    torch.testing.assert_close(scaled(x)[0], plain(x * scale)[0], rtol=0, atol=0)
    torch.manual_seed(1)
    student = Student(N_GENES, 3, StudentSettings(), scale).eval()
    torch.manual_seed(1)
    plain_student = Student(N_GENES, 3, StudentSettings()).eval()
    torch.testing.assert_close(student(x)[0], plain_student(x * scale)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("extra", "count"),
    [({}, 28_871_725), ({"token_norm": True, "pre_logits": True}, 28_874_173)],
)
def test_parameter_counts_of_the_teacher(extra, count):
    """The published code's model, and the number printed in the paper (4.1)."""
    settings = resolve({"preset": "authors_code", "teacher": extra}).teacher
    mask = sparse.random_array((2000, 300), density=0.02, rng=np.random.default_rng(0)).tolil()
    mask[0] = 1
    teacher = Teacher(mask.tocsc(), 13, settings)
    assert teacher.dense_parameter_count() == count
    assert sum(p.numel() for p in teacher.parameters()) < count / 10


def test_parameter_count_of_the_student():
    student = Student(2000, 13, AUTHORS_CODE.student)
    assert sum(p.numel() for p in student.parameters()) == 547_597

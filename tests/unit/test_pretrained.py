"""Models from weights that the user names: what they make of cells, of files, and of bad files."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

import exchange
import finetuning
import run_geneformer
import run_scbert
import run_scgpt
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from simulated import make_cells

# ------------------------------------------------------------------------------ cells as sequences


def test_genes_are_ranked_beside_their_medians_as_geneformer_does():
    """A cell by hand: counts per 10,000 of 40, 30, 20 and a gene without a median."""
    tokens = {"<pad>": 0, "<mask>": 1, "E1": 2, "E2": 3, "E3": 4}
    medians = {"E1": 8.0, "E2": 1.0, "E3": 10.0}
    cells = sparse.csr_matrix(np.log1p(np.array([[40.0, 30, 20, 99], [0, 0, 7, 0], [0] * 4])))
    found = run_geneformer.ranked(cells, ["E1", "E2", "E3", "X"], tokens, medians, 2048)
    assert [list(one) for one in found] == [[3, 2, 4], [4], [1]]
    short = run_geneformer.ranked(cells, ["E1", "E2", "E3", "X"], tokens, medians, 2)
    assert list(short[0]) == [3, 2]
    tokens |= {"<cls>": 5, "<eos>": 6}
    long = run_geneformer.ranked(cells, ["E1", "E2", "E3", "X"], tokens, medians, 4)
    assert list(long[0]) == [5, 3, 2, 6]


def test_values_are_binned_by_the_quantiles_of_their_cell_as_scgpt_does():
    rng = np.random.default_rng(0)
    values = rng.permutation(np.arange(1.0, 101.0))
    bins = run_scgpt.binned(values, rng)
    assert bins.min() == 1
    assert bins.max() == 50
    assert np.all(np.diff(bins[np.argsort(values)]) >= 0)
    np.testing.assert_array_equal(bins, run_scgpt.binned(np.exp(values / 50) // 1e-9, rng))
    same = run_scgpt.binned(np.ones(5000), rng)  # all bins fit: one is drawn
    assert set(same) == set(range(1, 51))
    assert run_scgpt.binned(np.array([]), rng).size == 0


def test_a_cell_of_scgpt_is_its_expressed_genes_after_the_token_of_the_cell():
    vocabulary = {"<pad>": 0, "<cls>": 1, "A": 7, "B": 8, "C": 9}
    cells = sparse.csr_matrix(np.array([[0, 2.0, 1.0, 5.0], [0.0, 0, 0, 0]]))
    rng = np.random.default_rng(0)
    (genes, values), (nothing, _) = run_scgpt.sentences(cells, list("ACBX"), vocabulary, rng)
    assert list(genes) == [1, 9, 8]
    assert values[0] == 0
    assert values[1] > values[2] >= 1
    assert list(nothing) == [1]


def test_genes_are_put_into_the_order_of_scbert():
    cells = sparse.csr_matrix(np.log1p(np.array([[3.0, 40.0, 1.0]])))
    found = run_scbert.aligned(cells, ["B", "A", "X"], ["A", "Z", "B"])
    # log2(1 + 40) is above the largest bin, log2(1 + 3) is 2; the last place is nobody's
    assert run_scbert.bins_of(found, 5).tolist() == [[5, 0, 2, 0]]


def test_the_rate_of_scbert_warms_up_and_falls_in_longer_and_lower_cycles():
    rates = np.array([run_scbert.rate_of(epoch) for epoch in range(40)])
    assert rates[[0, 15]] == pytest.approx(1e-6)
    assert rates[5] == pytest.approx(1e-4)
    assert rates[20] == pytest.approx(0.9e-4)
    assert np.all(np.diff(rates[5:15]) < 0)
    assert np.all(np.diff(rates[20:40]) < 0)


# ------------------------------------------------------------------------------ the learning


@pytest.fixture
def clouds() -> tuple[torch.Tensor, np.ndarray]:
    codes = np.arange(120) % 3
    points = np.random.default_rng(0).normal(size=(120, 2)) + 4 * np.eye(3)[codes][:, :2]
    return torch.as_tensor(points, dtype=torch.float32), codes


def learned(points, codes, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    rates: list[float] = []

    def rate(epoch, step, n_steps):
        rates.append(0.1 * (1 - step / n_steps))
        return rates[-1]

    finetuning.learn(
        model, lambda rows: model(points[rows]), codes,
        torch.optim.SGD(model.parameters(), lr=1.0), rate=rate, **options,
    )  # fmt: skip
    return model, rates


def test_a_batch_is_one_step_however_few_cells_fit_into_memory(clouds):
    whole, rates = learned(*clouds, epochs=30, batch=50)
    piecewise, _ = learned(*clouds, epochs=30, batch=50, at_once=7)
    torch.testing.assert_close(whole.weight, piecewise.weight)
    assert len(rates) == 90
    assert rates[0] == pytest.approx(0.1)
    found = finetuning.probabilities(whole, lambda rows: whole(clouds[0][rows]), np.arange(120), 50)
    assert finetuning.accuracy(found, clouds[1]) > 0.8


def test_the_epoch_that_is_best_on_held_out_cells_stays(clouds):
    worths = iter([1.0, 3.0, 2.0, 2.0, 9.0])
    seen = []

    def better(probabilities, codes):
        seen.append(len(codes))
        return next(worths)

    best, rates = learned(*clouds, epochs=5, batch=96, held_out=0.2, better=better, patience=2)
    assert seen == [24] * 4  # two epochs that were no better, and the end
    assert len(rates) == 4
    two, _ = learned(*clouds, epochs=5, batch=96, held_out=0.2, better=iter_of(1, 2, 0, 0, 0))
    torch.testing.assert_close(best.weight, two.weight)


def iter_of(*worths):
    left = iter(worths)
    return lambda *_: next(left)


# ------------------------------------------------------------------------------ files


def test_files_of_weights_are_asked_for_by_name(tmp_path):
    with pytest.raises(exchange.CannotRun, match="weights not provided: there is no folder"):
        finetuning.file_of(tmp_path / "none", "a")
    with pytest.raises(exchange.CannotRun, match=r"weights not provided: .* holds no a\.pt or b"):
        finetuning.file_of(tmp_path, "a.pt", "b*.pt")
    (tmp_path / "b1.pt").touch()
    assert finetuning.file_of(tmp_path, "a.pt", "b*.pt").name == "b1.pt"
    (tmp_path / "b2.pt").touch()
    with pytest.raises(exchange.CannotRun, match=r"b1\.pt and b2\.pt: leave the one"):
        finetuning.file_of(tmp_path, "a.pt", "b*.pt")


def test_a_pickle_that_could_run_code_is_refused(tmp_path):
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps({"a": np.int16(3), "b": 2.5, "c": np.float64(1)}))
    assert finetuning.pickled_dictionary(path) == {"a": 3, "b": 2.5, "c": 1.0}
    path.write_bytes(pickle.dumps({"a": Path("/")}))
    with pytest.raises(exchange.CannotRun, match="no dictionary of names and numbers"):
        finetuning.pickled_dictionary(path)


def test_tensors_of_a_saved_training_are_found(tmp_path):
    tensors = {"w": torch.arange(3.0)}
    torch.save({"epoch": 3, "loss": np.float64(1), "model_state_dict": tensors}, tmp_path / "a.pth")
    torch.save(tensors, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        found = finetuning.saved_tensors(tmp_path / name, under="model_state_dict")
        assert found["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 cut off"])
def test_files_that_are_cut_off_or_something_else_are_said(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (
        finetuning.json_dictionary, finetuning.pickled_dictionary, finetuning.saved_tensors
    ):  # fmt: skip
        with pytest.raises(exchange.CannotRun, match=r"^'file' of the weights is no"):
            read(path)


def test_names_that_a_file_lacks_are_said(tmp_path):
    path = tmp_path / "file"

    def lacking(read, *keys, **options) -> str:
        with pytest.raises(exchange.CannotRun) as refused:
            read(path, *keys, **options)
        return str(refused.value)

    path.write_text('{"a": 1}')
    assert finetuning.json_dictionary(path, "a") == {"a": 1}
    assert lacking(finetuning.json_dictionary, "a", "b", "c").endswith("weights lacks 'b', 'c'")
    path.write_text("[1]")
    assert "holds no values by names" in lacking(finetuning.json_dictionary)
    path.write_bytes(pickle.dumps({"<mask>": 1}))
    assert "lacks '<pad>'" in lacking(finetuning.pickled_dictionary, "<pad>", "<mask>")
    torch.save({"model_state_dict": {"w": torch.ones(1)}}, path)
    under = {"under": "model_state_dict"}
    assert "lacks 'v'" in lacking(finetuning.saved_tensors, "w", "v", **under)
    torch.save(torch.ones(1), path)
    assert "holds no values by names" in lacking(finetuning.saved_tensors, **under)


def test_genes_of_another_organism_are_said():
    with pytest.raises(exchange.CannotRun, match="knows 1 of 20 genes"):
        finetuning.known_genes([f"G{i}" for i in range(20)], {"G3"})


# ------------------------------------------------------------------------------ scGPT, whole


@pytest.fixture(scope="module")
def job_of(tmp_path_factory):
    """A job on simulated cells, with weights in a folder."""
    folder = tmp_path_factory.mktemp("prepared")
    for seed, role in enumerate(("reference", "query")):
        make_cells(200, 60, types=3, seed=seed).write_h5ad(folder / f"{role}.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 50}}
    prepare_dataset(config, folder / "reference.h5ad", folder / "query.h5ad", paths)

    def job(method: str, weights: Path) -> exchange.Job:
        sides = (exchange.Cells(paths.reference), exchange.Cells(paths.query))
        return exchange.Job(method, *sides, folder, 0, 1, "cpu", weights)

    return job


def scgpt_weights(folder: Path, genes: list[str], *, flash: bool) -> Path:
    """A folder as the authors of scGPT publish them, with a small random network."""
    width, hidden, layers = 16, 24, 2
    vocabulary = {name: code for code, name in enumerate(["<pad>", "<cls>", "<eoc>", *genes])}
    joined = "self_attn.Wqkv." if flash else "self_attn.in_proj_"
    shapes = {
        "encoder.embedding.weight": (len(vocabulary), width),
        "value_encoder.linear1.weight": (width, 1),
        "value_encoder.linear2.weight": (width, width),
        "decoder.fc.0.weight": (width, width),
        **{
            f"transformer_encoder.layers.{layer}.{name}": shape
            for layer in range(layers)
            for name, shape in {
                f"{joined}weight": (3 * width, width), f"{joined}bias": (3 * width,),
                "self_attn.out_proj.weight": (width, width), "self_attn.out_proj.bias": (width,),
                "linear1.weight": (hidden, width), "linear1.bias": (hidden,),
                "linear2.weight": (width, hidden), "linear2.bias": (width,),
            }.items()
        },
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}
    norms = ["encoder.enc_norm", "value_encoder.norm"]
    norms += [f"transformer_encoder.layers.{i}.norm{k}" for i in range(layers) for k in (1, 2)]
    tensors |= {f"{name}.weight": torch.ones(width) for name in norms}
    biases = [*norms, "value_encoder.linear1", "value_encoder.linear2"]
    tensors |= {f"{name}.bias": torch.zeros(width) for name in biases}
    torch.save(tensors, folder / "best_model.pt")
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    about = {"embsize": width, "nheads": 2, "d_hid": hidden, "nlayers": layers, "n_layers_cls": 3}
    (folder / "args.json").write_text(json.dumps(about))
    return folder


def test_scgpt_learns_labels_from_weights_of_the_published_format(job_of, tmp_path, monkeypatch):
    # a small network of chance needs larger steps than the authors' to learn anything
    for name, value in {"RATE": 3e-3, "DECAY": 1.0, "EPOCHS": 20, "DROPOUT": 0.0}.items():
        monkeypatch.setattr(run_scgpt, name, value)
    genes = list(map(str, job_of("scgpt", tmp_path).reference.genes))
    job = job_of("scgpt", scgpt_weights(tmp_path, genes, flash=True))
    labels, probabilities = run_scgpt.annotate(job)
    assert labels == job.label_names
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    truth = make_cells(200, 60, types=3, seed=1).obs["cell_type"].astype(str)
    called = np.array(labels)[probabilities.argmax(axis=1)]
    assert (called == truth.loc[job.query.ids]).mean() > 0.7
    assert job.told["parameters"] > 3 * 16 * 16
    assert {"training_seconds", "prediction_seconds"} <= set(job.told)


def test_weights_saved_with_flash_attention_are_the_same_network(tmp_path):
    saved = []
    for flash in (True, False):
        model = run_scgpt.Cells(7, 3, 16, 2, 24, 2, 3)
        scgpt_weights(tmp_path, list("ABCD"), flash=flash)
        run_scgpt.load(model, finetuning.saved_tensors(tmp_path / "best_model.pt"))
        saved.append(model.state_dict())
    for name in saved[0]:
        if name.startswith(run_scgpt.PRETRAINED):
            torch.testing.assert_close(saved[0][name], saved[1][name])


def test_weights_that_do_not_fit_are_said(job_of, tmp_path):
    genes = list(map(str, job_of("scgpt", tmp_path).reference.genes))
    scgpt_weights(tmp_path, genes, flash=False)
    about = json.loads((tmp_path / "args.json").read_text())
    (tmp_path / "args.json").write_text(json.dumps(about | {"nlayers": 3}))
    with pytest.raises(exchange.CannotRun, match=r"layers\.2\.\S+ is absent or of another shape"):
        run_scgpt.annotate(job_of("scgpt", tmp_path))
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(exchange.CannotRun, match=r"weights not provided: .* holds no vocab\.json"):
        run_scgpt.annotate(job_of("scgpt", tmp_path))


@pytest.mark.parametrize(
    ("file", "absent"),
    [("args.json", "embsize"), ("args.json", "nlayers"), ("vocab.json", "<cls>"),
     ("vocab.json", "<pad>")],
)  # fmt: skip
def test_scgpt_says_which_key_its_files_lack(file, absent, job_of, tmp_path):
    genes = list(map(str, job_of("scgpt", tmp_path).reference.genes))
    path = scgpt_weights(tmp_path, genes, flash=False) / file
    content = json.loads(path.read_text())
    del content[absent]
    path.write_text(json.dumps(content))
    with pytest.raises(exchange.CannotRun, match=f"'{file}' of the weights lacks '{absent}'"):
        run_scgpt.annotate(job_of("scgpt", tmp_path))


# ------------------------------------------------------------------------------ the others' files


@pytest.mark.parametrize("method", ["geneformer", "langcell"])
@pytest.mark.parametrize("absent", ["<pad>", "<mask>"])
def test_ranked_models_say_which_token_is_absent(method, absent, job_of, tmp_path):
    tokens = {"<pad>": 0, "<mask>": 1, "G": 2}
    del tokens[absent]
    for name, content in (("token_dictionary", tokens), ("gene_median_dictionary", {"G": 1.0}),
                          ("gene_name_id_dict", {"G": "G"})):  # fmt: skip
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(exchange.CannotRun, match=f"'token_dictionary.pkl' .* lacks '{absent}'"):
        run_geneformer.annotate(job_of(method, tmp_path))


def test_a_bert_of_which_parts_are_absent_is_said(tmp_path, monkeypatch):
    """The package would draw them by chance. (It is not installed here: a pretended one.)"""
    missing = ["classifier.weight", "bert.pooler.dense.weight"]

    class Bert:
        @classmethod
        def from_pretrained(cls, folder, num_labels, output_loading_info):
            return cls(), {"missing_keys": missing}

    pretended = SimpleNamespace(BertForSequenceClassification=Bert)
    monkeypatch.setitem(sys.modules, "transformers", pretended)
    (tmp_path / "model.safetensors").touch()
    about = {"model_type": "bert", **dict.fromkeys(run_geneformer.SIZES, 1)}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(about))
    assert isinstance(run_geneformer.classifier(tmp_path, 3), Bert)
    missing.append("bert.encoder.layer.0.output.dense.weight")
    with pytest.raises(exchange.CannotRun, match=r"'model\.safetensors' .* lacks 1 parts"):
        run_geneformer.classifier(tmp_path, 3)
    path.write_text(json.dumps(about | {"model_type": "gpt2"}))
    with pytest.raises(exchange.CannotRun, match="a model 'gpt2', and no BERT"):
        run_geneformer.classifier(tmp_path, 3)
    del about["hidden_size"]
    path.write_text(json.dumps(about))
    with pytest.raises(exchange.CannotRun, match=r"'config\.json' .* lacks 'hidden_size'"):
        run_geneformer.classifier(tmp_path, 3)


def test_scbert_says_what_its_files_lack(job_of, tmp_path):
    tensors = {name: torch.ones(3, 2) for name in run_scbert.ASKED[1:]}
    torch.save({"model_state_dict": tensors}, tmp_path / "panglao_pretrain.pth")
    with pytest.raises(exchange.CannotRun, match=r"'panglao_pretrain\.pth' .* lacks 'token_emb"):
        run_scbert.annotate(job_of("scbert", tmp_path))
    tensors[run_scbert.TOKENS] = torch.ones(7, 2)
    torch.save({"model_state_dict": tensors}, tmp_path / "panglao_pretrain.pth")
    (tmp_path / "panglao_10000.h5ad").write_bytes(b"cut off")
    with pytest.raises(exchange.CannotRun, match=r"'panglao_10000\.h5ad' .* no names of genes"):
        run_scbert.annotate(job_of("scbert", tmp_path))

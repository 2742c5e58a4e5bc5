"""Tab-separated tables and the words of messages."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plkd.errors import InputError
from plkd.utils.tables import EXACT, read_tsv, write_tsv
from plkd.utils.text import counted, listed

TYPES = {"label": str, "n": int, "share": float, "own": bool, "rank": "Int64", "marker": "boolean"}


def a_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": pd.Series(["NA", "nan", "01", "True", "", 'a "b"\tc'], dtype=object),
            "n": [1, 2, 3, 4, 5, 6],
            "share": [1 / 3, np.nan, 123456.7, 2e-30, np.inf, 0.1 + 0.2],
            "own": [True, False, True, False, True, False],
            "rank": pd.array([1, None, 3, 2**60 + 1, 5, 6], dtype="Int64"),
            "marker": pd.array([True, None, False, None, True, True], dtype="boolean"),
        }
    )


def test_what_is_written_exactly_reads_back_the_same(tmp_path):
    write_tsv(a_table(), tmp_path / "t.tsv", digits=EXACT)
    pd.testing.assert_frame_equal(read_tsv(tmp_path / "t.tsv", TYPES), a_table(), check_exact=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_every_exact_number_is_the_very_same(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("tables") / "t.tsv"
    write_tsv(pd.DataFrame({"x": numbers}), path, digits=EXACT)
    assert read_tsv(path, {"x": float})["x"].tolist() == numbers


def test_an_empty_table_keeps_its_types(tmp_path):
    write_tsv(a_table().iloc[:0], tmp_path / "t.tsv")
    found = read_tsv(tmp_path / "t.tsv", TYPES)
    assert found.empty
    assert found.dtypes.equals(a_table().dtypes)


def test_numbers_for_people_have_four_digits_and_whole_ones_all_of_theirs(tmp_path):
    numbers = [1 / 3, 0.5, 350.0, 1234567.0, 98765.43, -2.00049e-9, np.nan, -np.inf]
    table = pd.DataFrame({"x": numbers, "same": numbers, "n": range(8)})
    write_tsv(table, tmp_path / "t.tsv", exact=["same"])
    found = read_tsv(tmp_path / "t.tsv", {"x": str, "same": float, "n": int})
    assert found["x"].tolist() == [
        "0.3333", "0.5", "350", "1234567", "98765", "-2e-09", "", "-inf",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["same"], numbers)


@given(st.lists(st.floats(-9999, 9999, width=32), max_size=20), st.booleans())
@settings(max_examples=30)
def test_many_numbers_are_written_as_each_alone(tmp_path_factory, numbers, large):
    numbers = [*numbers, 0.5, float("nan"), *([12345.6, 2e9, 1e300] if large else [])]
    path = tmp_path_factory.mktemp("table") / "t.tsv"
    write_tsv(pd.DataFrame({"x": numbers, "end": "."}), path)
    for value, text in zip(numbers, path.read_text().splitlines()[1:], strict=True):
        whole = np.isfinite(value) and (float(value).is_integer() or abs(value) >= 10_000)
        expected = f"{value:.0f}" if whole and abs(value) < 1e15 else f"{value:.4g}"
        assert text == ("" if np.isnan(value) else expected) + "\t."


def test_only_what_is_asked_for_is_read(tmp_path):
    write_tsv(a_table(), tmp_path / "t.tsv", digits=EXACT)
    assert list(read_tsv(tmp_path / "t.tsv", {"n": int})) == ["n"]
    everything = read_tsv(tmp_path / "t.tsv", {"n": int}, others=str)
    assert list(everything) == list(TYPES)
    assert everything["share"].map(type).eq(str).all()


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (b"gene\tn\nA\t1\n", {"gene": str, "rank": int}, "no column 'rank'.*'gene', 'n'"),
        (b"n\nmany\n", {"n": int}, "column 'n'.*not a whole number.*'many'"),
        (b"n\n1.5\n", {"n": int}, "column 'n'.*not a whole number"),
        (b"x\tn\n\t1\n", {"x": bool}, "column 'x'.*not True or False"),
        (b"x\nfew\n", {"x": float}, "column 'x'.*not a number"),
        (b"a\tb\n1\t2\n1\t2\t3\n", {"a": int}, "cannot be read as tab-separated text"),
        (b"\xff\xfe\x00", {"a": int}, "cannot be read as tab-separated text"),
        (b"", {"a": int}, "cannot be read as tab-separated text"),
        (None, {"a": int}, "does not exist"),
    ],
)
def test_a_damaged_table_is_refused_by_name_with_the_rule_that_mends_it(
    tmp_path, content, columns, message
):
    path = tmp_path / "t.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"(?s)t.tsv'.*{message}.*rule measure makes it anew"):
        read_tsv(path, columns, made_by="measure")
    with pytest.raises(InputError, match="Mend the file"):
        read_tsv(path, columns)


def test_a_failed_write_leaves_the_old_table(tmp_path):
    class Unwritable:
        def __str__(self):
            raise RuntimeError

    write_tsv(a_table(), tmp_path / "t.tsv", digits=EXACT)
    with pytest.raises(RuntimeError):
        write_tsv(pd.DataFrame({"n": [Unwritable()]}), tmp_path / "t.tsv")
    assert len(read_tsv(tmp_path / "t.tsv", TYPES)) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["t.tsv"]


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [
        ([], 3, "none"),
        (["a"], 3, "'a'"),
        (["a", "b", "c"], 3, "'a', 'b', 'c'"),
        (["a", "b", "c", "d"], 3, "'a', 'b', 'c' and 1 more"),
        (["a", "b", "a", "b"], 2, "'a', 'b'"),
        ((i for i in range(3000)), 1, "'0' and 2,999 more"),
        ({"a": object(), "b": object()}, 5, "'a', 'b'"),
    ],
)
def test_listed_names_the_first_few(names, most, text):
    assert listed(names, most) == text


def test_the_most_frequent_come_first():
    numbers = {"few": 2, "many": 12345, "some": 3}
    assert counted(numbers, 2) == "'many' (12,345), 'some' (3) and 1 more"


def test_listed_without_quotes():
    assert listed(["chr1", "chr2"], quote="") == "chr1, chr2"

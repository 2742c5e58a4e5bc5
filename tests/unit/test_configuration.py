"""Mistakes of a configuration in words."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from plkd.pipeline.configuration import markup_in, suggestion, violation

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "not": {"enum": ["benchmark"]}},
        "reader": {"enum": ["auto", "h5ad", None]},
        "cells": {"description": "How many.", "oneOf": [{"type": "integer"}, {"const": "all"}]},
        "reference": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"labels_key": {"type": "string"}},
        },
    },
}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"name": "a", "reader": "h5da"}, "reader: 'h5da' cannot be chosen: did you mean 'h5ad'?"),
        (
            {"name": "a", "reference": {"label_key": "x"}},
            "reference: unknown key 'label_key': did you mean 'labels_key'?",
        ),
        ({"name": "a", "zzz": 1}, "unknown key 'zzz': possible are cells, name, reader, reference"),
        ({}, "the key 'name' is missing"),
        ({"name": "A.."}, "name: 'A..' cannot be used"),
        ({"name": "benchmark"}, "name: 'benchmark' is reserved"),
    ],
)
def test_violation(content: dict, told: str) -> None:
    error = best_match(Draft202012Validator(SCHEMA).iter_errors(content))
    assert violation(error) == told


def test_of_several_possibilities() -> None:
    error = best_match(Draft202012Validator(SCHEMA).iter_errors({"name": "a", "cells": "some"}))
    assert violation(error).startswith("cells: ")


def test_of_several_possibilities_the_one_that_was_meant() -> None:
    one_or_more = {
        "description": "What to run.",
        "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1}],
    }
    schema = {"properties": {"datasets": one_or_more}}
    for content, told in (
        ([], "datasets: [] should be non-empty (What to run.)"),
        (3, "datasets: 3 is not of type "),
    ):
        for error in Draft202012Validator(schema).iter_errors({"datasets": content}):
            assert violation(error).startswith(told)
            assert violation(best_match([error])).startswith(told)


def test_suggestion_without_a_likeness() -> None:
    assert suggestion("colour", ["url", "labels_key"]) == "possible are labels_key, url"


def test_what_would_end_a_script_is_found_wherever_it_stands() -> None:
    hidden = {"datasets": [{"keep": {"donor": ["a", "b</Script >"]}}, "<i>fine</i>", 3, None]}
    assert markup_in(hidden) == "b</Script >"
    assert markup_in({"<!-- key": 1}) == "<!-- key"
    assert markup_in({"description": "T < B, </i> and 1 > 0"}) is None

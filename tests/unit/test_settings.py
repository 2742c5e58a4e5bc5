"""Variants of the configuration: presets, overrides, mistakes, and the schema that mirrors them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from plkd.errors import InputError
from plkd.settings.models import Settings, from_dict
from plkd.settings.preset_sources import SOURCES, markdown, settings_of
from plkd.settings.presets import PRESETS, json_schema, resolve
from project import REPOSITORY


def validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_resolves_to_itself(preset):
    assert resolve({"preset": preset}) == PRESETS[preset]


def test_no_preset_means_the_default():
    assert resolve({}) == PRESETS["default"]


def test_presets_differ_where_paper_and_code_do():
    paper, code = PRESETS["paper"], PRESETS["authors_code"]
    assert (paper.teacher.depth, paper.teacher.heads) == (1, 2)
    assert (code.teacher.depth, code.teacher.heads) == (2, 4)
    assert (paper.student_loss.temperature, code.student_loss.temperature) == (3.0, 4.0)
    assert paper.teacher_training.epochs == 6
    assert paper.student_loss.hard_label_weight == 0.0
    assert code.student_loss.hard_label_weight == 0.5
    assert code.student_training.optimiser == "adam"


def test_an_override_changes_its_setting_and_nothing_else():
    settings = resolve(
        {
            "preset": "paper",
            "mask": {"kind": "random", "density": 0.5},
            "student": {"hidden": [32]},
            "teacher_training": {"learning_rate": 1, "clip_gradient": 5.0},
            "alpha": 0.1,
        }
    )
    changed, original = settings.to_dict(), PRESETS["paper"].to_dict()
    assert changed["mask"].pop("kind") == "random"
    assert changed["mask"].pop("density") == 0.5
    assert changed["student"].pop("hidden") == [32]
    assert changed["teacher_training"].pop("learning_rate") == 1.0
    assert changed["teacher_training"].pop("clip_gradient") == 5.0
    assert changed.pop("alpha") == 0.1
    for section in ("mask", "student", "teacher_training"):
        original[section] = {
            key: value for key, value in original[section].items() if key in changed[section]
        }
    del original["alpha"]
    assert changed == original


def test_overriding_leaves_the_variant_and_the_preset_alone():
    variant = {"preset": "paper", "teacher": {"heads": 4}}
    resolve(variant)
    assert variant == {"preset": "paper", "teacher": {"heads": 4}}
    assert PRESETS["paper"].teacher.heads == 2


def test_an_integer_passes_for_a_number_and_null_for_no_limit():
    settings = resolve(
        {"preset": "paper", "student_loss": {"temperature": 2}, "mask": {"density": None}}
    )
    assert isinstance(settings.student_loss.temperature, float)
    assert settings.mask.density is None


MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "preset": ({"preset": "papers"}, ("papers", "authors_code")),
    "preset of another type": ({"preset": ["paper"]}, ("paper",)),
    "section": ({"teachers": {}}, ("teachers", "teacher_training")),
    "key": ({"teacher": {"head": 2}}, ("head", "teacher", "heads")),
    "choice": ({"mask": {"kind": "rand"}}, ("mask.kind", "rand", "pathways")),
    "text for a number": ({"teacher": {"width": "48"}}, ("teacher.width", "48")),
    "number for an integer": ({"teacher": {"depth": 1.5}}, ("teacher.depth", "1.5")),
    "switch for an integer": ({"teacher": {"depth": True}}, ("teacher.depth", "True")),
    "switch for a number": ({"alpha": True}, ("alpha", "True")),
    "number for a switch": ({"teacher": {"token_norm": 1}}, ("teacher.token_norm", "1")),
    "null for a number": ({"teacher": {"width": None}}, ("teacher.width", "None")),
    "text for an optional number": ({"mask": {"density": "low"}}, ("mask.density", "low")),
    "value for a section": ({"teacher": 48}, ("teacher", "48")),
    "no value for a section": ({"student": None}, ("student", "None")),
    "list for a section": ({"student": ["hidden"]}, ("student", "hidden")),
    "value for a list": ({"student": {"hidden": 256}}, ("student.hidden", "256")),
    "text for a list": ({"student": {"hidden": "12"}}, ("student.hidden", "12")),
    "text in a list": ({"student": {"hidden": ["a"]}}, ("student.hidden", "a")),
    "fraction in a list": ({"student": {"hidden": [1.5]}}, ("student.hidden", "1.5")),
    "zero in a list": ({"student": {"hidden": [8, 0]}}, ("student.hidden", "0")),
    "empty list": ({"student": {"hidden": []}}, ("student.hidden",)),
    "too small": ({"teacher_training": {"batch_size": 0}}, ("teacher_training.batch_size", "0")),
    "negative": ({"teacher_training": {"epochs": -1}}, ("teacher_training.epochs", "-1")),
    "at an open lower limit": (
        {"student_loss": {"temperature": 0}},
        ("student_loss.temperature", "0"),
    ),
    "at an open upper limit": ({"student": {"dropout": 1.0}}, ("student.dropout", "1.0")),
    "too large": ({"mask": {"density": 1.1}}, ("mask.density", "1.1")),
    "not a number": ({"alpha": float("nan")}, ("alpha", "nan")),
    "heads": ({"teacher": {"heads": 5}}, ("teacher.heads", "5", "48")),
    "no loss of the Teacher": (
        {"teacher_loss": {"clustering_weight": 0, "cross_entropy_weight": 0}},
        ("teacher_loss",),
    ),
    "no loss of the Student": (
        {"preset": "paper", "student_loss": {"distillation_weight": 0, "self_entropy_weight": 0}},
        ("student_loss",),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    variant, words = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        resolve(variant)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


# Combinations and NaN are beyond a schema.
@pytest.mark.parametrize("name", [n for n in MISTAKES if not n.startswith(("heads", "no", "not"))])
def test_the_schema_refuses_what_resolve_refuses(name):
    assert not validator().is_valid(MISTAKES[name][0])


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json(preset):
    settings = PRESETS[preset]
    assert from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_overridden_settings_survive_json():
    variant = {"student": {"hidden": [9, 7, 5]}, "mask": {"n_tokens": 3}, "alpha": 0.2}
    settings = resolve(variant)
    assert from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.student.hidden == (9, 7, 5)


def test_settings_without_one_of_them_are_refused():
    for path in (("alpha",), ("teacher",), ("teacher", "width")):
        content = PRESETS["default"].to_dict()
        *sections, name = path
        del (content[sections[0]] if sections else content)[name]
        with pytest.raises(InputError, match=f"'{name}' is missing"):
            from_dict(content)


def test_the_defaults_are_the_default_preset():
    assert Settings() == PRESETS["default"]


def test_the_schema_file_is_the_schema():
    path = REPOSITORY / "workflow" / "schemas" / "variant.schema.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    header = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "PLKD variant"}
    assert content == header | json_schema(), "run `make schema`"


def test_the_schema_is_valid_and_describes_every_key():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)

    def visit(node: dict[str, Any], path: str) -> None:
        assert node.get("description", "").strip(), path
        if node["type"] == "object":
            assert node["additionalProperties"] is False, path
            for name, child in node["properties"].items():
                visit(child, f"{path}.{name}")

    visit(schema, "variant")
    assert set(schema["properties"]) == {"preset", *PRESETS["default"].to_dict()}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_validate_against_the_schema(preset):
    validator().validate({"preset": preset, **PRESETS[preset].to_dict()})


def test_the_table_of_presets_is_the_table():
    """`make schema` was run after the last change."""
    assert (REPOSITORY / "config" / "presets.md").read_text(encoding="utf-8") == markdown()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_that_a_preset_sets_has_one_source(preset):
    values = {name: value for name, value, _ in settings_of(PRESETS[preset])}
    claimed = [name for names in SOURCES[preset].values() for name in names]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(values)
    unused = {name: value for name, value in values.items() if name not in claimed}
    if values["jury.members"] == "teacher":  # nothing is cross-fitted
        unused |= {"jury.folds": None, "jury.max_cells": None}
    assert all(not value or value == "equal" for value in unused.values()), unused

"""A tree above the labels: where subtypes cannot be told apart, their type may still be sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.utils.files import whole_file
from plkd.utils.text import listed

LEVEL = 0.8
"""Probability that a label of the tree must reach."""


def write_tree(children: Mapping[str, Sequence[str]], path: str | Path) -> None:
    """Write a tree as :meth:`LabelTree.read` reads it, in the order of `children`."""
    plain = {parent: list(names) for parent, names in children.items()}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class LabelTree:
    """Which labels are kinds of which.

    Attributes
    ----------
    labels
        The model's labels, in its order.
    parents
        Name -> name of what it is a kind of, for every name that has one.

    Examples
    --------
    >>> tree = LabelTree(["CD4", "CD8", "B"], {"CD4": "T", "CD8": "T"})
    >>> names, probability = tree.back_off(np.array([[0.5, 0.4, 0.1]]))
    >>> names[0], round(float(probability[0]), 2)
    ('T', 0.9)
    """

    labels: Sequence[str]
    parents: Mapping[str, str]

    @classmethod
    def of(cls, children: Any, labels: Sequence[str], name: str = "the label tree") -> LabelTree:
        """Make a tree of ``{parent: [children]}``, whose lowest names are labels of a model.

        Parameters
        ----------
        children
            Names of children by that of their parent.
        labels
            Of the model; those that the tree does not name stand alone.
        name
            What it is called in messages.

        Raises
        ------
        InputError
            If it is no such mapping, a name has two parents or is its own ancestor, or a lowest
            name is no label of the model.
        """
        if not isinstance(children, Mapping) or not all(
            isinstance(one, list) and one for one in children.values()
        ):
            raise InputError(f"{name} must name the children of every parent: 'T cell: [CD4, CD8]'")
        parents: dict[str, str] = {}
        for parent, names in children.items():
            for child in map(str, names):
                if child in parents:
                    raise InputError(
                        f"{name}: '{child}' stands below '{parents[child]}' and '{parent}': keep "
                        "one of them."
                    )
                parents[child] = str(parent)
        tree = cls(list(labels), parents)
        for child in parents:
            if child in tree._above(child):
                raise InputError(f"{name}: '{child}' is its own ancestor: take it out there.")
        lowest = set(parents) - set(parents.values()) - set(labels)
        if lowest:
            raise InputError(
                f"{name}: {listed(sorted(lowest))} are no labels of the model and have no "
                f"children; its labels are {listed(labels, 20)}."
            )
        return tree

    @classmethod
    def read(cls, path: str | Path, labels: Sequence[str]) -> LabelTree:
        """Read a tree from a YAML file of ``parent: [children]``; see :meth:`of`."""
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"the label tree '{path}' does not exist.") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"the label tree '{path}' cannot be read as YAML: {error}") from error
        return cls.of(content, labels, f"the label tree '{path}'")

    @cached_property
    def names(self) -> list[str]:
        """Every name, those of the model's labels first."""
        return list(dict.fromkeys([*self.labels, *self.parents, *self.parents.values()]))

    @cached_property
    def depth(self) -> int:
        """Number of levels."""
        return max(len(self.path_to(name)) for name in self.names)

    def path_to(self, name: str) -> list[str]:
        """A name with all that it is a kind of, the widest first."""
        return [*reversed(list(self._above(name))), name]

    def probabilities(self, of_labels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability of every name, its own as a label and its children's, (cells, names)."""
        membership = np.zeros((len(self.labels), len(self.names)))
        place = {name: column for column, name in enumerate(self.names)}
        for row, label in enumerate(self.labels):
            membership[row, [place[name] for name in self.path_to(label)]] = 1.0
        return np.asarray(of_labels, dtype=np.float64) @ membership

    def back_off(
        self, of_labels: NDArray[np.floating], level: float = LEVEL
    ) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Name every cell as narrowly as its probabilities allow.

        Of two names that both reach a level above one half one is a kind of the other, so that
        there is one narrowest, and what is said at one level never contradicts another.

        Parameters
        ----------
        of_labels
            Probabilities (cells, labels).
        level
            Probability that a name must reach, above 0.5.

        Returns
        -------
        names
            The narrowest name that reaches the level, "" where none does, (cells,).
        probability
            Its probability, NaN where there is none, (cells,).

        Raises
        ------
        InputError
            If the level is not above 0.5 and at most 1.
        """
        if not 0.5 < level <= 1:
            raise InputError(f"the level {level} of a label tree: give more than 0.5, at most 1.")
        every = self.probabilities(of_labels)
        depths = np.array([len(self.path_to(name)) for name in self.names])
        # rounding must not cost a certain cell its name
        reached = np.where(every >= level - 1e-6, depths, 0)
        best = reached.argmax(axis=1)
        none = reached.max(axis=1) == 0
        names = np.asarray(self.names, dtype=object)[best]
        names[none] = ""
        probability = every[np.arange(len(every)), best]
        return names, np.where(none, np.nan, np.minimum(probability, 1.0))

    def levels(self, names: NDArray[np.object_]) -> NDArray[np.object_]:
        """What names are at every level, the widest first; "" where a name is wider than that.

        Parameters
        ----------
        names
            From :meth:`back_off`, (cells,).

        Returns
        -------
        object array (cells, depth)
        """
        paths = {name: self.path_to(name) for name in self.names} | {"": []}
        padded = {name: path + [""] * (self.depth - len(path)) for name, path in paths.items()}
        table = np.empty((len(names), self.depth), dtype=object)
        for name in set(names):
            table[names == name] = padded[name]
        return table

    def _above(self, name: str) -> Iterator[str]:
        """What a name is a kind of, the narrowest first; ends where it would come round."""
        seen = set()
        while name in self.parents and name not in seen:
            seen.add(name)
            name = self.parents[name]
            yield name

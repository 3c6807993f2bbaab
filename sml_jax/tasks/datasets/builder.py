"""A TFDS builder that stores problems as array records. Needs tensorflow-datasets; never imports TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow_datasets as tfds

from sml_jax.tasks.code.problem import CallCase, Case, IoCase
from sml_jax.tasks.problems.types import Problem

P = TypeVar("P", bound=Problem)


class SmlProblems(tfds.core.GeneratorBasedBuilder):
    """Stores problems as a TFDS data set, one example for each, in the order in which they are given.

    Args:
      kind: class of the problems: `Problem` or a class derived from it. Each of its fields becomes a feature.
      splits: problems by split; no split may be empty.
      settings: arguments of `tfds.core.GeneratorBasedBuilder`, such as `data_dir`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS 4.9.10 looks for checksums beside a builder's code through importlib_resources, which it does not require.
    code_path = None

    def __init__(self, kind: type[Problem], splits: Mapping[str, Sequence[Problem]], **settings: Any) -> None:
        self._kind, self._splits = kind, splits
        super().__init__(**settings)

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Problems of a task, made from an upstream file on disk.",
            features=tfds.features.FeaturesDict(features_of(self._kind)),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._generate_examples(problems) for split, problems in self._splits.items()}

    def _generate_examples(self, problems: Sequence[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, problem in enumerate(problems):
            yield index, encode(problem)


def features_of(kind: type[Problem]) -> dict[str, Any]:
    """The TFDS feature of each field of a class of problems, by the field's name.

    It is a text for a field that is a text and for `cases` (as JSON), and a sequence of texts for a field that is a
    tuple of texts.

    Args:
      kind: `Problem` or a class derived from it.
    """
    return {
        field.name: tfds.features.Text() if field.type == "str" or field.name == "cases" else _texts()
        for field in dataclasses.fields(kind)
    }


def _texts() -> Any:
    return tfds.features.Sequence(tfds.features.Text())


def encode(problem: Problem) -> dict[str, Any]:
    """The TFDS example that stores a problem: a text or a list of texts for each field; `cases` are JSON text."""
    # Tuples are stored as lists, and cases, which are objects, as JSON.
    example = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    if "cases" in example:
        example["cases"] = json.dumps([dataclasses.asdict(case) for case in example["cases"]])
    return {name: list(value) if isinstance(value, tuple) else value for name, value in example.items()}


def decode(kind: type[P], example: Mapping[str, Any]) -> P:
    """The problem that `encode` made an example of.

    Args:
      kind: class of the problem.
      example: the example as TFDS reads it: bytes and arrays of bytes by field.
    """
    # A text feature comes back as bytes, a sequence of them as an array.
    values: dict[str, Any] = {
        name: value.decode("utf-8") if isinstance(value, bytes) else tuple(item.decode("utf-8") for item in value)
        for name, value in example.items()
    }
    if "cases" in values:
        values["cases"] = tuple(_case(case) for case in json.loads(values["cases"]))
    return kind(**values)


def _case(values: dict[str, str]) -> Case:
    return IoCase(**values) if "stdin" in values else CallCase(**values)

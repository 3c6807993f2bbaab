"""The pocket world's tasks and chat format, made once."""

import pytest

from sml_jax.pocket import ASSETS
from sml_jax.pocket.world import pocket_task
from sml_jax.text.chat import simple_format
from sml_jax.text.tokenizer import SentencePieceTokenizer

NAMES = ("pocket_math", "pocket_code", "pocket_math_underspecified", "pocket_code_underspecified")


@pytest.fixture(scope="session")
def chat():
    return simple_format(SentencePieceTokenizer(ASSETS / "pocket.model"))


@pytest.fixture(scope="session")
def small():
    """A task by name, with few problems, so that drawing them costs nothing."""
    tasks = {name: type(pocket_task(name))(pocket_task(name).underspecified, 3000, 400) for name in NAMES}
    return tasks.__getitem__


@pytest.fixture(params=NAMES)
def task(request, small):
    """Each of the four tasks."""
    return small(request.param)

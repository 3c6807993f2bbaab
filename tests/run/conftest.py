"""What the tests of stages share: the toy world's tokenizer, and runs in folders of their own."""

import pytest
from run_toys import toy_experiment, toy_run, write_tokenizer


@pytest.fixture(scope="module", autouse=True)
def few_devices(two_devices):
    """What a stage does does not depend on the number of devices; tests of meshes say their sizes."""


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(scope="session")
def engines():
    """Compiled kernels of the toy model, for every run of the session."""
    return {}


@pytest.fixture
def new_run(tokenizer, engines, tmp_path):
    """`new_run(**settings of the experiment)` gives what a stage works with, in a fresh folder.

    The folder is closed at the test's end.
    """
    opened = []

    def make(name: str = "run", **settings):
        opened.append(toy_run(toy_experiment(tokenizer, **settings), tmp_path / f"{name}{len(opened)}", engines))
        return opened[-1]

    yield make
    for run in opened:
        run.close()

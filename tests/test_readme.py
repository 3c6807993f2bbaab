"""The README's own example runs."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.extra
def test_the_library_example_runs_as_it_stands():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    transcript = names["transcript"]
    assert transcript.tokens.shape[0] == 64
    assert names["advantage"].shape == (64,)
    assert np.isfinite(np.asarray(names["advantage"])).all()


def test_every_recipe_it_names_exists():
    text = README.read_text()
    for path in re.findall(r"gin/recipes/[\w{},]+\.gin", text):
        options = re.findall(r"{([\w,]+)}", path)
        paths = [path]
        for option in options:
            paths = [p.replace("{" + option + "}", choice) for p in paths for choice in option.split(",")]
        for each in paths:
            assert (README.parent / each).is_file(), each

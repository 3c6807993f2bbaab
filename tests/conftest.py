"""Set-up that must come before JAX and the package are imported, and the fixtures that every test may use."""

import os
from pathlib import Path

_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()
# Another platform is for tests that say so: they skip elsewhere.
os.environ["JAX_PLATFORMS"] = os.environ.get("SML_JAX_TEST_PLATFORM", "cpu")

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# Every annotated shape in the package is checked at run time.
jaxtyping.install_import_hook("sml_jax", "beartype.beartype")

# A first call compiles, so no deadline for an example.
hypothesis.settings.register_profile("sml_jax", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("sml_jax")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, which are no part of the project; skips the test where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SML_JAX_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SML_JAX_DATA to the folder that holds gsm8k/")
    return folder

"""Makes the peers' virtual environments, once, and keeps them."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from sml_jax.common.errors import UserError

PINNED = {
    "torch": ("torch==2.13.0", "transformers==5.23.0", "trl==1.16.0"),
    "tunix": ("google-tunix==0.1.7", "qwix==0.1.8", "jax==0.10.2", "jaxlib==0.10.2", "flax==0.12.8", "optax==0.2.8"),
}
REPORTED = {
    "ours": ("jax", "jaxlib", "flax", "optax", "numpy"),
    "torch": ("torch", "transformers", "trl", "accelerate", "numpy"),
    "tunix": ("google-tunix", "qwix", "jax", "jaxlib", "flax", "optax", "numpy"),
}


def python_of(place: str, cache: Path, share: bool = False, torch_index: str = "") -> Path:
    """The Python of a peer's environment, which is made if it is not there yet; for "ours" the Python that runs this.

    Args:
      place: "ours", "torch" or "tunix". cache: the folder that the environments lie in.
      share: a new environment also sees the packages of the one that runs this, so that only missing ones are fetched.
      torch_index: a package index asked beside the usual one, for builds of torch that are smaller.
    """
    if place == "ours":
        return Path(sys.executable)
    # A finished environment says what was installed in it; after a changed pin it is made anew.
    folder = cache / (f"{place}-shared" if share else place)
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(PINNED[place]) + "\n"
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"# installing {', '.join(PINNED[place])} in {folder}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if share:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # A .pth file adds a folder to the search path, behind the environment's own packages.
        path_file = folder / "lib" / version / "site-packages" / "shared.pth"
        path_file.write_text(sysconfig.get_paths()["purelib"] + "\n")
    index = ["--extra-index-url", torch_index] if torch_index and place == "torch" else []
    install = subprocess.run([str(python), "-m", "pip", "install", "-q", *index, *PINNED[place]])
    if install.returncode:
        raise UserError(f"pip could not install {', '.join(PINNED[place])} in {folder}: see what it says above")
    done.write_text(wanted)
    return python


def versions(place: str, python: Path) -> dict[str, str]:
    """The versions of the packages that a place has installed."""
    # Asked of the environment itself: a shared one may take a package from elsewhere.
    script = (
        "import json, sys\nfrom importlib.metadata import version\n"
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    out = subprocess.run([str(python), "-c", script, *REPORTED[place]], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(out.stdout)
    return {"python": sys.version.split()[0], **found}

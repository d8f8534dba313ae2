"""Build the package and try it outside the checkout: ``check_package.py [--uv] [PYTHON]``.

A wheel is built from the source distribution, its files are compared with the checkout, and it is
installed in a new environment of that interpreter (default: this one) by plain pip, without a C
compiler; ``--uv`` installs by uv, whose cache has torch perhaps. Then the command's version, a tiny
study and a tiny meta-training by MAML must do without the extras. Ends with status 1 if anything
does not.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST = 2_000_000
"""Bytes that a distribution may have: code and configurations, no results."""

TINY = "--pretrain.steps 4 --pretrain.validate_every 2 --pretrain.kl_warmup 2"
STUDY = (
    f"compare {ROOT}/configs/quickstart.yaml {TINY} --seeds [0] --episodes 20 "
    "--selection_episodes 10 --workers 1 --quiet"
)
MAML = (
    "train --dataset Glyphs --learner MAML --train.setting.n_way 5 --train.setting.n_query 5 "
    "--train.steps 4 --train.validate_every 2 --output runs/maml"
)
WITHOUT = (
    "import fewshot, importlib.util as u, sys; sys.exit(u.find_spec('learn2learn') is not None)"
)


def main() -> None:
    """Build, compare, install and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", nargs="?", default=sys.executable)
    parser.add_argument("--uv", action="store_true", help="install by uv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(work, arguments.python, "-m", "venv", "new")
        python = str(work / "new/bin/python")
        pip = [python, "-m", "pip"]
        run(work, *pip, "install", "--quiet", "build")
        run(work, python, "-m", "build", "--outdir", "dist", str(ROOT))  # the wheel from the sdist
        wheel = compare_files(work / "dist")
        installer = (
            ["uv", "pip", "install", "--python", python] if arguments.uv else [*pip, "install"]
        )
        run(work, *installer, "--quiet", str(wheel))
        run(work, python, "-c", WITHOUT)
        fewshot = str(work / "new/bin/fewshot")
        for command in ("--version", STUDY, MAML):
            run(work, fewshot, *command.split())
    print(f"{wheel.name} works in {arguments.python}")


def run(work: Path, *command: str) -> None:
    """Run a command in a folder outside the checkout.

    Raises:
        SystemExit: it has failed.
    """
    print("+", *command, flush=True)
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    apart = {"CC": "false", "CXX": "false", "FEWSHOT_CACHE": str(work / "cache")}
    done = subprocess.run(command, cwd=work, env={**known, **apart}, check=False)
    if done.returncode:
        sys.exit(f"status {done.returncode} of: {' '.join(command)}")


def compare_files(dist: Path) -> Path:
    """The wheel in a folder, which must hold the tracked files of both packages and no others.

    Raises:
        SystemExit: a file is missing or too many, or a distribution is too large.
    """
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    listed = subprocess.run(
        ["git", "ls-files", "guided", "fewshot"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tracked = set(listed.stdout.split()) - {"guided/ruff.toml"}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.count("/") > 1}
    wrong = [f"the wheel differs in {name}" for name in sorted(tracked ^ found)]
    wrong += [f"the sdist has {name}" for name in folders - {"guided", "fewshot", "configs"}]
    wrong += [f"{path.name} is large" for path in (wheel, sdist) if path.stat().st_size > LARGEST]
    if wrong:
        sys.exit("\n".join(wrong))
    return wheel


if __name__ == "__main__":
    main()

"""What a user of the library sees through a type checker."""

import subprocess
import sys
import tomllib
from pathlib import Path

import factors

ROOT = Path(factors.__file__).parent.parent
USER = """\
from factors import FactorModel, sample_market
reveal_type(FactorModel().fit(sample_market(20, 60).panel))
FactorModel().fitt(3)
"""


def test_three_lines_of_a_user_have_types(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    said = done.stdout.splitlines()
    assert 'Revealed type is "factors.factor_model.model.FactorModel"' in said[0], done
    assert '"FactorModel" has no attribute "fitt"' in said[1], done
    assert "Found 1 error" in said[-1]


def test_every_name_that_the_package_gives_late_is_named_for_type_checkers_too():
    text = Path(factors.__file__).read_text()
    imported = text.partition("if TYPE_CHECKING:")[2].partition("_WHERE")[0]
    assert [name for name in factors.__all__ if name not in imported] == []
    assert sorted(factors._WHERE) == sorted(factors.__all__)


def test_packages_that_users_import_say_that_they_have_types():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    assert "py.typed" in built
    assert [room for room in ("factors", "clients", "contracts") if not (ROOT / room / "py.typed").is_file()] == []

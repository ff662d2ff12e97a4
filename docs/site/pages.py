"""What the site has beside the pages of docs/: README as its first page, the examples, and drawings as pictures."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # mkdocs reads this file alone

from sequence import drawn  # noqa: E402

BROUGHT = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Pages of the project's own folder, and what they are called here."""
EXAMPLES = "examples/index.md"
MERMAID = re.compile(r"^```mermaid\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
MOVES = (("](docs/", "]("), ("](../CONTRIBUTING.md", "](CONTRIBUTING.md"), ("](examples)", f"]({EXAMPLES})"))
"""How links of the project's folder read from the site's."""


def on_config(config: Any) -> Any:
    """Put the examples into the navigation, behind the tutorial."""
    (tutorial,) = [section["Tutorial"] for section in config.nav if "Tutorial" in section]
    examples = [{title(path): f"examples/{path.stem}.md"} for path in example_files()]
    if not any("Examples" in entry for entry in tutorial):
        tutorial.append({"Examples": [{"All of them": EXAMPLES}, *examples]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    made = {name: (ROOT / path).read_text(encoding="utf-8") for path, name in BROUGHT.items()}
    made |= {f"examples/{path.stem}.md": page(path) for path in example_files()}
    made[EXAMPLES] = listed()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links and drawings into what the site has."""
    for written, here in MOVES:
        markdown = markdown.replace(written, here)
    markdown = MERMAID.sub(lambda found: f"{drawn(found[1])}\n", markdown)
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else lists(part) for part in parts)


def lists(text: str) -> str:
    """Write lists as mkdocs reads them: what belongs to an item four blanks in, and a blank line behind it."""
    text = re.sub(r"^ {2}(?=\S)", "    ", text, flags=re.MULTILINE)
    return re.sub(r"^( {4}\S.*\n)(?=[*-] )", r"\1\n", text, flags=re.MULTILINE)


def example_files() -> list[Path]:
    """List the examples, jupytext files in the percent form."""
    return sorted((ROOT / "examples").glob("*.py"))


def cells(path: Path) -> list[tuple[bool, str]]:
    """Give the cells of an example: whether it is text, and what it holds."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        text = "[markdown]" in kind
        found.append((text, (re.sub(r"^# ?", "", body, flags=re.MULTILINE) if text else body).strip()))
    return found


def title(path: Path) -> str:
    """Give an example's heading."""
    first = next(body for text, body in cells(path) if text)
    return first.splitlines()[0].lstrip("# ")


def page(path: Path) -> str:
    """Write an example as a page: its text as text, its code as code."""
    parts = [body if text else f"```python\n{body}\n```" for text, body in cells(path)]
    told = f"The file is `examples/{path.name}`; a notebook opens it by jupytext, and the tests run it as it stands."
    return "\n\n".join([parts[0], told, *parts[1:]]) + "\n"


def listed() -> str:
    """Write the page that lists the examples."""
    lines = [
        "# Examples",
        "",
        "For whoever would rather start from code that runs. After this page you know which one is nearest to yours.",
        "Each takes a file of yours as its first argument, and a sample market without one.",
        "",
    ]
    lines += [f"* [{title(path)}]({path.stem}.md): `python examples/{path.name}`" for path in example_files()]
    return "\n".join(lines) + "\n"

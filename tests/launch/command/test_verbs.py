"""Every operation of the table has a verb, and the example of each is a command line that asks for just that."""

import json
import shlex
from pathlib import Path

import orjson
import polars as pl
import pytest
from click.testing import CliRunner

from contracts.operations import OPERATIONS
from launch.command import build, call
from launch.command.main import cli
from launch.command.nouns import NOUNS, OTHER
from launch.command.verbs import BOOK, SAME, verbs

ALL = [(noun, name, verb) for noun in NOUNS for name, verb in verbs(noun).items()]


def test_every_operation_has_one_verb():
    named = [verb.operation.name for _, _, verb in ALL]
    assert sorted(named) == sorted(set(OPERATIONS) - set(SAME))


def test_a_new_operation_has_a_verb_without_a_word_of_its_own():
    from dataclasses import replace

    new = replace(OPERATIONS["factor_exposures"], name="new_thing")
    assert verbs(OTHER, {**OPERATIONS, "new_thing": new})["new-thing"].operation is new


@pytest.fixture
def asked(monkeypatch):
    """The requests that commands make, instead of sending them."""
    found = []

    def note(row, body, where):
        found.append((row, {name: call.plain(value) for name, value in body.items()}, where))
        return {"success": True, "calculation_result": {"n": 1}}

    monkeypatch.setattr(build, "ask", note)
    return found


def tables_of(verb, folder):
    """Files with the tables of the row's example."""
    files = {}
    for field in verb.operation.frames:
        value = verb.operation.example.get(field)
        if value is not None:
            path = folder / f"{field}.arrow"
            pl.DataFrame(value).write_ipc_stream(path)
            files[field] = str(path)
    weights = verb.operation.example.get("portfolio_weights")
    if weights is not None:
        files[BOOK] = str(folder / "book.csv")
        lines = [f"{name},{weight}" for name, weight in weights.items()]
        (folder / "book.csv").write_text("\n".join(["symbol,weight", *lines]))
    return files


@pytest.mark.parametrize(("noun", "name", "verb"), ALL, ids=lambda part: part if isinstance(part, str) else "")
def test_the_example_of_each_verb_asks_for_what_the_table_says(noun, name, verb, asked, tmp_path):
    words = [noun, name, *build.example_words(verb, tables_of(verb, tmp_path))]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.exception is None, done.exception
    assert done.return_value == 0, done.output
    row, body, _ = asked.pop()
    example = dict(row.example)
    if BOOK in verb.positional and "portfolio_weights" in example:
        example.pop("portfolio_id", None)  # only a name for weights that are given anyhow
    for field in row.frames:
        if field in example:
            example[field] = pl.DataFrame(example[field]).to_dict(as_series=False)
    assert orjson.loads(orjson.dumps(body)) == orjson.loads(orjson.dumps(example))


@pytest.mark.parametrize(("noun", "name", "verb"), ALL, ids=lambda part: part if isinstance(part, str) else "")
def test_help_ends_with_that_example(noun, name, verb):
    shown = CliRunner().invoke(cli, [noun, name, "--help"]).output
    line = shlex.split(build.example(noun, name, verb))
    assert line[:3] == ["factor-engine", noun, name]
    text = shown.split("Example: ", 1)[1]
    assert "".join(text.split()) == "".join(build.example(noun, name, verb).split())


def test_a_book_is_a_name_or_a_file(asked, tmp_path):
    CliRunner().invoke(cli, ["book", "risk", "core"])
    assert asked.pop()[1] == {"portfolio_id": "core"}
    file = tmp_path / "book.csv"
    file.write_text("symbol,weight\nA,0.75\nB,0.25\n")
    CliRunner().invoke(cli, ["book", "risk", str(file), "--horizon-days", "5"])
    assert asked.pop()[1] == {"portfolio_weights": {"A": 0.75, "B": 0.25}, "horizon_days": 5}


def test_holdings_without_dates_hold_always(asked, tmp_path):
    file = tmp_path / "book.csv"
    file.write_text("symbol,weight\nA,1\n")
    CliRunner().invoke(cli, ["book", "put", "core", str(file)])
    assert asked.pop()[1]["holdings"] == {"always": {"A": 1.0}}
    file.write_text("date,symbol,weight\n2024-01-02,A,1\n2024-02-01,A,0.5\n2024-02-01,B,0.5\n")
    CliRunner().invoke(cli, ["book", "put", "core", str(file)])
    assert asked.pop()[1]["holdings"] == {"2024-01-02": {"A": 1.0}, "2024-02-01": {"A": 0.5, "B": 0.5}}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["book", "risk", "--confidence", "many"], 2, "--confidence"),
        (["book", "risk", "--uncovered", "maybe"], 2, "refuse"),
        (["book", "what-if", "core", "A"], 1, "NAME=VALUE"),
        (["book", "what-if", "core", "{A"], 1, "no JSON"),
        (["model", "append", "m", "absent.csv"], 1, "there is no file absent.csv"),
        (["model", "append", "m", "rows.txt"], 1, ".parquet"),
        (["model", "append"], 2, "MODEL_ID"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(words, code, said, asked, capfd):
    from launch.command.main import main

    assert main(words) == code
    assert said in capfd.readouterr().err
    assert not asked


def test_nobody_there_is_code_3_and_a_refused_token_4(capfd, monkeypatch):
    from contracts.errors import Forbidden
    from launch.command.main import main

    assert main(["model", "list", "--url", "http://127.0.0.1:9"]) == call.UNREACHABLE
    assert "cannot be reached" in capfd.readouterr().err

    def refuse(*_):
        raise Forbidden("the token reads only")

    monkeypatch.setattr(build, "ask", refuse)
    assert main(["model", "delete", "m"]) == call.REFUSED
    assert "reads only" in capfd.readouterr().err


def test_json_and_arrow_of_an_answer(asked, tmp_path, monkeypatch, capfdbinary):
    from launch.command.main import main

    answer = {"success": True, "calculation_result": {"date": "2024-01-02", "factor_values": {"A": 1.5, "B": None}}}
    monkeypatch.setattr(build, "ask", lambda *_: answer)
    file = tmp_path / "values.arrow"
    assert main(["factor", "results", "A", "--json", "--arrow", str(file)]) == 0
    assert json.loads(capfdbinary.readouterr().out) == answer
    assert pl.read_ipc(file).to_dicts() == [{"name": "A", "value": 1.5}, {"name": "B", "value": None}]
    monkeypatch.setattr(build, "ask", lambda *_: {"success": True})
    assert main(["factor", "show", "A", "--arrow", str(file)]) == call.FAILED
    assert b"no table" in capfdbinary.readouterr().err


LINES = [
    line.split("  #")[0].strip()
    for line in (Path(__file__).parents[3] / "docs/command.md").read_text().splitlines()
    if line.startswith("factor-engine ")
]


@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] in ("model", "book", "factor")])
def test_the_lines_of_the_docs_are_command_lines(line, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"symbol": ["A"], "date": ["2024-01-02"], "close": [1.0]}).write_parquet("prices.parquet")
    Path("day.csv").write_text("symbol,date,close\nA,2024-01-03,1\n")
    Path("book.csv").write_text("symbol,weight\nA,1\n")
    monkeypatch.setattr(build, "tell", lambda *_: None)
    done = CliRunner().invoke(cli, shlex.split(line)[1:], standalone_mode=False)
    assert done.exception is None, done.output
    assert done.return_value == 0, done.output
    assert len(asked) == 1

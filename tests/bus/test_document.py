import json
import re
from urllib.parse import unquote

import pytest

from bus import streams
from bus.document import DOCS, FEEDS, asyncapi, subjects_page, write
from contracts.operations import OPERATIONS, by_subject


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def follow(document, reference):
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[unquote(part).replace("~1", "/").replace("~0", "~")]
    return node


@pytest.mark.parametrize("name", ["subjects.md", "asyncapi.json"])
def test_the_committed_document_is_what_the_table_says_now(name, tmp_path):
    write(tmp_path)
    assert (DOCS / name).read_text() == (tmp_path / name).read_text(), "run: python -m bus.document"


def test_every_subject_event_and_stream_is_on_the_page():
    page = subjects_page()
    for operation in OPERATIONS.values():
        for subject in (*operation.subjects, *operation.events):
            assert f"`{subject}`" in page
    for config in streams.definitions():
        assert f"| {config.name} |" in page


def test_the_asyncapi_document_is_whole():
    document = json.loads(json.dumps(asyncapi()))
    found = list(references(document))
    assert found
    for reference in found:
        assert follow(document, reference) is not None
    receives = {
        unquote(o["channel"]["$ref"].rpartition("/")[2])
        for o in document["operations"].values()
        if o["action"] == "receive"
    }
    assert receives == set(by_subject()) | set(FEEDS)
    for address, channel in document["channels"].items():
        named = set(re.findall(r"\{([a-z_]+)\}", address))
        assert set(channel.get("parameters", {})) == named
        assert channel["messages"]


def test_an_events_message_is_its_data_and_not_the_answer():
    document = json.loads(json.dumps(asyncapi()))
    for row in OPERATIONS.values():
        for template in row.events:
            message = follow(document, document["channels"][template]["messages"][f"{row.name}.event"]["$ref"])
            assert message["headers"]["properties"]["ce-type"] == {"const": row.message_type}
            fields = follow(document, message["payload"]["$ref"])["properties"]
            assert {"calculation_id", row.values, "model_id", "portfolio_id", "values_omitted"} <= set(fields)
            assert "success" not in fields
    (reference,) = document["channels"]["factor.rejected.{subject}"]["messages"].values()
    rejected = follow(document, reference["$ref"])
    assert set(follow(document, rejected["payload"]["$ref"])["properties"]) == {"subject", "request_id", "problem"}

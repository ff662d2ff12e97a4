import re

import jsonschema_rs
import pytest

from contracts.operations import OPERATIONS, V1
from web.openapi import document
from web.service import ROUTES

PAGES = {"/routing/calibrate", "/messagebus/mode", "/messagebus/test-factor-broadcast"}
"""Posts whose answer is a table of its own and no calculation."""


@pytest.fixture(scope="module")
def described():
    return document(ROUTES)


def test_every_route_of_the_table_and_of_the_service_is_described(described):
    listed = {(method.upper(), path) for path, row in described["paths"].items() for method in row}
    wanted = {(route.method, route.path) for op in OPERATIONS.values() for route in op.routes}
    assert listed == wanted | {(row.method, row.path) for row in ROUTES}


def test_every_reference_leads_to_a_schema(described):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(described)))
    assert names <= set(described["components"]["schemas"])


def test_every_operation_id_is_given_once(described):
    ids = [row["operationId"] for path in described["paths"].values() for row in path.values()]
    assert len(ids) == len(set(ids))


def test_every_request_schema_is_a_valid_schema(described):
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})


def test_what_the_path_gives_is_not_asked_for_in_the_body(described):
    body = described["components"]["schemas"]["AppendDayBody"]
    assert "model_id" not in body["properties"]
    assert body["required"] == ["feature_data"]


def test_the_document_and_its_page_are_served(http):
    assert http.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert "/openapi.json" in http.get("/docs").text


def test_the_page_loads_nothing_from_other_peoples_servers(http):
    page = http.get("/docs")
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!/docs/)", page.text)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    own = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']+)", page.text)
    assert len(own) >= 3
    for path in own:
        assert http.get(path).status_code == 200, path
    # The document is OpenAPI 3.1, which Swagger UI reads from version 5 on.
    assert '"5.' in http.get("/docs/swagger-ui-bundle.js").text


def test_every_post_has_an_example_that_works_as_it_stands(http):
    served = http.get("/openapi.json").json()["paths"]
    examples = [
        (method, path, row[method], row[method]["requestBody"]["content"]["application/json"]["example"])
        for path, row in served.items()
        for method in ("put", "post")
        if method in row and "application/json" in row[method].get("requestBody", {}).get("content", {})
    ]
    assert {path for method, path, *_ in examples if method == "post"} == {
        p for p, r in served.items() if "requestBody" in r.get("post", {})
    }
    puts = {path for method, path, *_ in examples if method == "put"}
    assert puts == {
        "/portfolios/{portfolio_id}",
        "/watches/{watch_id}",
        "/running-day/{model_id}",
        "/estimators/{estimator_id}",
        "/messagebus/mode",
    }
    # What makes a model stands before what changes it. The other paths of an operation would add the same day again.
    for method, path, row, example in examples:
        if path == "/factors/update":  # begins a warm-up of the whole library; the library's own tests have it
            continue
        if path.startswith(V1) and any(path != p and row["summary"] == r["summary"] for _, p, r, _ in examples):
            continue
        filled = path.format_map(
            {parameter["name"]: parameter.get("example") for parameter in row.get("parameters", [])}
        )
        answer = http.request(method, filled, json=example)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json()["success"] is True
        values = answer.json().get("calculation_result", {})
        assert values.get("factor_values") or values.get("factor_exposures") or path in PAGES or "messagebus" in path, (
            path
        )
    assert http.delete("/factor-model/example").status_code == 200
    assert http.delete("/portfolios/example-book").status_code == 200
    assert http.delete("/watches/example-watch").status_code == 200
    assert http.delete("/estimators/example-estimator").status_code == 200


def test_the_problem_document_is_the_answer_to_every_error(described):
    for path in described["paths"].values():
        for row in path.values():
            for status, answer in row["responses"].items():
                if status != "200":
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}

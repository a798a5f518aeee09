"""Clients' `query`, `sort` and `fields`: what is understood, and what is refused."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.errors import InvalidInput
from palaver.gateway.rest.query import matches, parse_fields, parse_query, parse_sort, select, sorted_by

FIELDS = ("_id", "name", "age", "active", "ts")


def parse(query: Any) -> dict[str, Any]:
    return parse_query(json.dumps(query), FIELDS)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", []),
        ('{"name":1}', [("name", 1)]),
        ('{"ts":-1,"name":1}', [("ts", -1), ("name", 1)]),
        ('{"unknown":1,"name":-1}', [("name", -1)]),
    ],
)
def test_sort(text: str, parsed: list[tuple[str, int]]) -> None:
    assert parse_sort(text, FIELDS) == parsed


@pytest.mark.parametrize(
    "text", ['{"name":2}', '{"name":0}', '{"name":true}', '{"name":"1"}', "name", "[1]", "7", '{"$where":1}', "{"]
)
def test_sort_refuses(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_sort(text, FIELDS)
    assert caught.value.error_code == "error-invalid-sort"


@pytest.mark.parametrize(
    ("query", "parsed"),
    [
        ({}, {}),
        ({"name": "g"}, {"name": "g"}),
        ({"name": None}, {"name": None}),
        ({"name": {"$regex": "g"}}, {"name": {"$contains": "g"}}),
        ({"name": {"$regex": "g", "$options": "i"}}, {"name": {"$contains": "g"}}),
        ({"name": {"$regex": r"a\.b\-c"}}, {"name": {"$contains": "a.b-c"}}),
        ({"name": {"$regex": "^ab"}}, {"name": {"$gte": "ab", "$lt": "ab\U0010ffff"}}),
        ({"name": {"$regex": "^ab.*"}}, {"name": {"$gte": "ab", "$lt": "ab\U0010ffff"}}),
        ({"name": {"$regex": "^ab$"}}, {"name": {"$in": ["ab"]}}),
        ({"_id": {"$in": ["a", "b"]}}, {"_id": {"$in": ["a", "b"]}}),
        ({"name": {"$eq": "a"}}, {"name": {"$in": ["a"]}}),
        ({"age": {"$gt": 1, "$lte": 5}}, {"age": {"$gt": 1, "$lte": 5}}),
        ({"active": {"$exists": True}}, {"active": {"$exists": True}}),
        ({"ts": {"$gt": {"$date": 1700000000000}}}, {"ts": {"$gt": {"$date": 1700000000000}}}),
        ({"ts": {"$gt": {"$date": "2023-11-14T22:13:20.000Z"}}}, {"ts": {"$gt": {"$date": 1700000000000}}}),
        (
            {"$or": [{"name": "a"}, {"$and": [{"age": 1}, {"active": True}]}]},
            {"$or": [{"name": "a"}, {"$and": [{"age": 1}, {"active": True}]}]},
        ),
    ],
)
def test_query(query: dict[str, Any], parsed: dict[str, Any]) -> None:
    assert parse(query) == parsed


@pytest.mark.parametrize(
    "query",
    [
        {"password": "x"},
        {"services.password.bcrypt": {"$exists": True}},
        {"$where": "this.name == 'x'"},
        {"name": {"$where": "1"}},
        {"name": {"$not": {"$regex": "a"}}},
        {"name": {"$regex": "(a+)+$"}},
        {"name": {"$regex": ".*"}},
        {"name": {"$regex": ""}},
        {"name": {"$regex": "^"}},
        {"name": {"$regex": "a|b"}},
        {"name": {"$regex": r"\d"}},
        {"name": {"$regex": "^ab", "$options": "i"}},
        {"name": {"$regex": "ab", "$options": "x"}},
        {"name": {"$regex": {"$ne": 1}}},
        {"name": {"$options": "i"}},
        {"name": {}},
        {"name": {"first": "a"}},
        {"name": ["a"]},
        {"name": {"$in": "a"}},
        {"name": {"$in": [{"$ne": 1}]}},
        {"name": {"$in": ["a"] * 1001}},
        {"name": {"$exists": 1}},
        {"ts": {"$gt": {"$date": True}}},
        {"ts": {"$date": 1, "$ne": 2}},
        {"age": 2**60},
        {"$or": []},
        {"$or": [1]},
        {"$or": {"name": "a"}},
        {"$or": [{"name": str(number)} for number in range(200)]},
        [],
        "name",
    ],
)
def test_query_refuses(query: Any) -> None:
    with pytest.raises(InvalidInput):
        parse(query)


def test_deep_query_is_refused() -> None:
    query: dict[str, Any] = {"name": "a"}
    for _ in range(10):
        query = {"$or": [query]}
    with pytest.raises(InvalidInput) as caught:
        parse(query)
    assert caught.value.error_code == "error-invalid-query"


@pytest.mark.parametrize("text", ["{", '{"name":', "[" * 5000, '{"a":' * 2000, '{"name":"' + "x" * 60_000 + '"}'])
def test_broken_query_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_query(text, FIELDS)
    assert caught.value.error_code == "error-invalid-query"


def test_fields() -> None:
    document = {"_id": "1", "name": "n", "age": 3}
    assert select(document, parse_fields("")) == document
    assert select(document, parse_fields('{"name":1}')) == {"_id": "1", "name": "n"}
    assert select(document, parse_fields('{"name":0}')) == {"_id": "1", "age": 3}
    assert select(document, parse_fields('{"name.first":1}')) == {"_id": "1", "name": "n"}
    for text in ('{"name":2}', '{"$where":1}', "name", '{"name":{"$slice":1}}'):
        with pytest.raises(InvalidInput):
            parse_fields(text)


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({}, True),
        ({"name": "Anna"}, True),
        ({"name": "anna"}, False),
        ({"name": {"$regex": "NN"}}, True),
        ({"name": {"$regex": "^An"}}, True),
        ({"name": {"$regex": "^n"}}, False),
        ({"_id": {"$in": ["1", "2"]}}, True),
        ({"_id": {"$nin": ["1"]}}, False),
        ({"_id": {"$ne": "2"}}, True),
        ({"age": {"$gt": 2, "$lt": 4}}, True),
        ({"age": {"$gt": "a"}}, False),
        ({"active": None}, True),
        ({"active": {"$exists": False}}, True),
        ({"ts": {"$gte": {"$date": 5}}}, True),
        ({"ts": {"$lt": {"$date": 5}}}, False),
        ({"$or": [{"name": "x"}, {"age": 3}]}, True),
        ({"$and": [{"name": "x"}, {"age": 3}]}, False),
    ],
)
def test_matches(query: dict[str, Any], fits: bool) -> None:
    document = {"_id": "1", "name": "Anna", "age": 3, "ts": {"$date": 5}}
    assert matches(document, parse(query)) is fits


def test_sorted_by() -> None:
    documents = [{"_id": "2", "t": "a"}, {"_id": "1", "t": "b"}, {"_id": "3", "t": "a"}]
    order = [document["_id"] for document in sorted_by(documents, [("t", 1), ("_id", -1)])]
    assert order == ["3", "2", "1"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$or", "$and", "$in", "$regex", "$options", "$gt", "$date", "name", "age", "x", "$ne"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_anything_is_parsed_or_refused(query: Any) -> None:
    """Whatever arrives, the outcome is a filter over allowed fields or an error for the client."""
    try:
        parsed = parse_query(json.dumps(query), FIELDS)
    except InvalidInput:
        return
    assert isinstance(matches({"_id": "1", "name": "n"}, parsed), bool)
    assert b'"x"' not in orjson.dumps(list(parsed))

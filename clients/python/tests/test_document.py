"""The client beside the document of the API, without a server: no operation, parameter or member is missing."""

import inspect
import json
import pathlib
import re
import types
import typing
import unittest
import urllib.parse
from collections.abc import Iterator
from unittest import mock

from orderworks import Orderworks, Placed

DOCUMENT = json.loads((pathlib.Path(__file__).resolve().parents[3] / "api/openapi.json").read_text())


class Sent(Exception):
    """A request in place of its sending: method, path, body, header fields."""


def send(_client, _connection, method, path, body, headers):
    raise Sent(method, urllib.parse.urlsplit(path), body or {}, headers)


def without_none(hint):
    if isinstance(hint, types.UnionType):
        [hint] = [part for part in typing.get_args(hint) if part is not type(None)]
    return hint


def value_of(hint):
    """A value of a type; an object has all of its members."""
    hint = without_none(hint)
    if typing.is_typeddict(hint):
        return {name: name for name in typing.get_type_hints(hint)}
    return [] if typing.get_origin(hint) is list else {int: 1, bool: True}.get(hint, "X")


def resolved(schema):
    """The schema itself, of a reference or of one that may be null."""
    while schema is not None and not schema.get("properties"):
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif "oneOf" in schema:
            [schema] = [part for part in schema["oneOf"] if part.get("type") != "null"]
        else:
            break
    return schema


def members(schema):
    schema = resolved(schema) or {}
    parts = [members(part) for part in schema.get("allOf", [])]
    return {name: part for known in [*parts, schema.get("properties", {})] for name, part in known.items()}


def content(message):
    return message.get("content", {}).get("application/json", {}).get("schema")


class Document(unittest.TestCase):
    def request(self, method, hints):
        """What a method sends that is given all that it takes."""
        hints = {name: hint for name, hint in hints.items() if name != "return"}
        [more] = typing.get_args(hints.pop("access", None) or hints.pop("chosen", None)) or [None]
        given = {name: value_of(hint) for name, hint in hints.items()} | (value_of(more) if more else {})
        with mock.patch.object(Orderworks, "_exchange", send), self.assertRaises(Sent) as sent:
            answer = method(**given)
            if inspect.isgenerator(answer):
                next(answer)
        return sent.exception.args

    def test_every_operation_has_a_method_with_all_that_it_takes_and_gives(self):
        client = Orderworks("https://shop.example", "owk_sec_1")
        left = {
            (method.upper(), re.sub(r"\{\w+\}", "X", path)): operation
            for path, item in DOCUMENT["paths"].items() if path.startswith("/v1/")
            for method, operation in item.items()
        }
        for name, method in inspect.getmembers(client, inspect.ismethod):
            if name.startswith("_") or name == "close":
                continue
            with self.subTest(name):
                hints = typing.get_type_hints(method)
                verb, address, body, headers = self.request(method, hints)
                operation = left.pop((verb, address.path))
                self.compare_request(operation, address.query, body, headers)
                for hint in hints.values():
                    if typing.is_typeddict(hint) and hint is not hints["return"]:
                        self.compare(hint, content(operation["requestBody"]))
                done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
                self.compare(hints["return"], content(done))
        self.assertEqual(left, {})

    def compare_request(self, operation, query, body, headers):
        parameters = operation.get("parameters", [])
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
        self.assertEqual(urllib.parse.parse_qs(query).keys(), named - {"starting_after"})
        named = {parameter["name"].lower() for parameter in parameters if parameter["in"] == "header"}
        # A proof is sent where it was asked for.
        self.assertLessEqual(named - {"orderworks-proof"}, headers.keys())
        self.assertEqual(body.keys(), members(content(operation.get("requestBody", {}))).keys())

    def compare(self, hint, schema):
        hint, schema = without_none(hint), resolved(schema)
        if hint is Placed:
            hint = typing.get_type_hints(Placed)["order"]
        if typing.get_origin(hint) in (list, Iterator):
            items = schema if schema is None or schema.get("type") == "array" else members(schema)["data"]
            # A stream of events has no schema of its items.
            if items is not None:
                self.compare(typing.get_args(hint)[0], items["items"])
        elif typing.is_typeddict(hint):
            known, told = typing.get_type_hints(hint), members(schema)
            self.assertLessEqual(told.keys(), known.keys(), hint)
            self.assertLessEqual(known.keys() - told.keys(), hint.__optional_keys__, hint)
            for name in told:
                self.compare(known[name], told[name])


if __name__ == "__main__":
    unittest.main()

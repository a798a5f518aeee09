"""The `md` tree: the same as Rocket.Chat's message parser makes, in linear time."""

import itertools
import json
import lzma
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.messaging import markdown
from palaver.messaging.markdown import NOTHING, Options
from palaver.messaging.markdown.blocks import Blocks
from tests.messaging.markdown.oracle import ANSWERS, own_options, running_oracle
from tests.messaging.markdown.texts import EVERYTHING, random_cases

_EXAMPLES = [json.loads(line) for line in Path(__file__).with_name("examples.jsonl").read_text().splitlines()]
_LIVE_TEXTS = 10_000

# For eight times the text: a line that turns out to be no item of a list is walked twice, one that is but once.
_GROWTH = 18

# What a parser that tries each sign anew spends its life on.
_HOSTILE = [
    *("*", "_", "~", "[", "(", ">", "`", "|", "<", "@", "#", ":", "+", "!", "\\", ".", "-", "\n", " ", "😀"),
    *("**", "||", "![", "](", "[](", "[a](", "[a](b(", "<a.b|", "<t:", "http://", "a@", "a@b.", "a.b@", "(a.b|"),
    *("*_", "*_~", "*_*~", "||*_~", "~*_a", "*a ", "_a ", "*`", "`*", "*[", "[*", "*[a](", "[a *b", "_a_b", "a_", "_-"),
    *(
        "- ",
        "* ",
        "* a",
        "1. ",
        "> ",
        "- [ ] ",
        "```\n",
        "||\n",
        "\n||",
        "[a\n",
        "* *",
        ":a:",
        "+1",
        "+12345",
        "a-",
        "-_",
    ),
    *("mailto:a@", "://", "a://", "👨\u200d", "_a\n*", "[_a](", "*_~`[(<|"),
    *(":)", ":*", "*)", "-_-", "||:)", ":) *", "a:*", "~:*", "||:*a", "*:)_", "$", "$a ", "$$", "\\(", "\\[a", "||$a"),
    *("||\\(a ", "$a\\)", "color:#", "color:#fff", "color", "a.zzz", "||\n$a\n", "* $*\n", "*\\0/* ", "<3"),
]


def _paragraph(text: str) -> dict[str, Any]:
    return {"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": text}]}


def test_plain_text_is_a_paragraph_a_line() -> None:
    assert markdown.parse("hello") == [_paragraph("hello")]
    assert markdown.parse("a\n\nb") == [_paragraph("a"), {"type": "LINE_BREAK"}, _paragraph("b")]
    assert markdown.parse("\n") == [{"type": "LINE_BREAK"}]
    assert markdown.parse("") == []
    assert markdown.parse("a\r\nb\rc") == [_paragraph("a"), _paragraph("b"), _paragraph("c")]


@pytest.mark.parametrize("example", [each for each in _EXAMPLES if each["text"]])
def test_examples(example: dict[str, Any]) -> None:
    assert markdown.parse(example["text"], own_options(example.get("options", {}))) == example["md"]


def test_recorded_answers() -> None:
    answers = [json.loads(line) for line in lzma.decompress(ANSWERS.read_bytes()).decode().split("\n")]
    assert len(answers) > 7000
    different = [
        answer for answer in answers if markdown.parse(answer["text"], own_options(answer["options"])) != answer["md"]
    ]
    assert not different, different[:5]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("http://xn--a.org", [{"type": "LINK", "value": "http://xn--a.org"}]),
        ("a 1" + "0" * 20 + ". b", None),
        ("<t:2040-01-01T00:00:00>", [{"type": "TIMESTAMP", "value": "2208988800"}]),
    ],
)
def test_what_differs_on_purpose(text: str, value: list[dict[str, str]] | None) -> None:
    (paragraph,) = markdown.parse(text)
    if value is None:
        assert paragraph == _paragraph(text)
        return
    (node,) = paragraph["value"]
    shown = node["value"]["src"]["value"] if node["type"] == "LINK" else node["value"]["timestamp"]
    assert [{"type": node["type"], "value": shown}] == value


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("_x 8) :a: _d", []),  # what turns out not to be italic has no emoticons
        ("_x *8)* _d", ["BOLD"]),
        ("-_-b1_ x", []),  # the emoticon is before a word with a low line, and reverts
        ("-_- b1_ x", ["EMOJI"]),
        ("*) x", ["EMOJI"]),
        ("*x *) b*", ["BOLD"]),  # the star of the emoticon does not end what is bold
        ("[x] [y](z.org)", ["LINK"]),
        ("[x][y](z.org)", ["LINK"]),
    ],
)
def test_what_signs_mean_beside_each_other(text: str, kinds: list[str]) -> None:
    (paragraph,) = markdown.parse(text, EVERYTHING)
    assert [node["type"] for node in paragraph["value"] if node["type"] != "PLAIN_TEXT"] == kinds


def test_brackets_before_a_link_are_none_of_its_label() -> None:
    (paragraph,) = markdown.parse("[x] [y](z.org)")
    assert paragraph["value"][0] == {"type": "PLAIN_TEXT", "value": "[x] "}
    (paragraph,) = markdown.parse("[x][y](z.org)")
    assert paragraph["value"][0]["value"]["label"] == [{"type": "PLAIN_TEXT", "value": "x][y"}]


def test_a_number_that_no_database_holds_makes_no_list() -> None:
    assert markdown.parse("9" * 16 + ". a")[0]["type"] == "PARAGRAPH"
    assert markdown.parse("9" * 15 + ". a")[0]["value"][0]["number"] == 10**15 - 1


@given(st.text("ab *_~`|[]()<>@#:+!\\.-/\n\t1é😀", max_size=60))
def test_no_text_is_lost_but_markup(text: str) -> None:
    """Letters stay, in their order; and the fast path for plain texts says what the full parser says."""
    tree = markdown.parse(text)
    if text and not text.isspace():
        assert tree
    if "\r" not in text and tree and tree[0]["type"] != "BIG_EMOJI":
        assert tree == Blocks(text).parse()


@given(st.text("ab é,.!?'()/-1 \n:;=%&$8DXO03", max_size=40), st.sampled_from([NOTHING, EVERYTHING]))
def test_the_fast_path_sees_what_the_parser_sees(text: str, options: Options) -> None:
    tree = markdown.parse(text, options)
    if not tree or tree[0]["type"] != "BIG_EMOJI":
        assert tree == Blocks(text, options).parse()


def _written(node: Any) -> str:
    """What a tree shows of a text, in its order."""
    if isinstance(node, list):
        return "".join(map(_written, node))
    if isinstance(node, str):
        return node
    match node["type"]:
        case "LINK" | "IMAGE":
            return _written(node["value"]["label"])
        case "EMOJI":
            return _written(node.get("unicode") or node["value"])
        case "COLOR" | "LINE_BREAK" | "TIMESTAMP":
            return ""
        case _:
            return _written(node["value"])


@given(st.text("ab*_~`|[]()>@#:!-\n\\$1é😀 ", max_size=60), st.sampled_from([NOTHING, EVERYTHING]))
def test_letters_stay(text: str, options: Options) -> None:
    """All of them, and in their order: but the language of a code block, and the number of a list's item."""
    if "```" in text or "](" in text:
        return
    shown = _written(markdown.parse(text, options))
    assert [letter for letter in shown if letter in "abé"] == [letter for letter in text if letter in "abé"]


def _steps(text: str, options: Options) -> int:
    blocks = Blocks(text, options)
    blocks.parse()
    return blocks.steps


@pytest.mark.parametrize("options", [NOTHING, EVERYTHING], ids=["nothing", "everything"])
@pytest.mark.parametrize("sign", _HOSTILE)
def test_time_is_linear(sign: str, options: Options) -> None:
    short, long = (_steps(sign * (size // len(sign)), options) for size in (1000, 8000))
    assert long <= _GROWTH * short + 50
    assert long <= 20 * 8000


def test_time_is_linear_for_mixtures() -> None:
    source = random.Random(7)
    for _ in range(60):
        part = "".join(source.choice(_HOSTILE) for _ in range(source.randint(2, 5)))
        short, long = (_steps(part * (size // len(part)), EVERYTHING) for size in (600, 4800))
        assert long <= _GROWTH * short + 50, part


@pytest.mark.parametrize("sign", ["*", "[", "(", ">", "`", "||", "*_~`[(<|", "a *b* @c x.org\n"])
def test_a_long_text_has_a_tree(sign: str) -> None:
    assert markdown.parse(sign * (100_000 // len(sign)))


def test_a_megabyte_has_a_tree() -> None:
    line = "Hey @john, the *deploy* went fine, see https://ci.example.org/builds/1?x=y for more :tada: _please_ `ok`\n"
    assert len(markdown.parse(line * (1_000_000 // len(line)))) == 1_000_000 // len(line)


@pytest.mark.needs_servers
async def test_live_answers() -> None:
    """Many more texts than the recorded ones, against the real parser; others with another MARKDOWN_SEED."""
    seed = int(os.environ.get("MARKDOWN_SEED", "1"))
    compared = 0
    async with running_oracle() as oracle:
        for text, options in itertools.islice(random_cases(seed), _LIVE_TEXTS):
            tree = await oracle.find_tree(text, options)
            if tree is not None:
                assert markdown.parse(text, options) == tree, f"seed {seed}: {text!r}, {options}"
                compared += 1
    assert compared > _LIVE_TEXTS / 2

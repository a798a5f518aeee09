"""Which markup counts in a workspace, and the trees of what members attach. Called for every message sent or edited."""

from functools import lru_cache
from typing import Any

from palaver.access import Access
from palaver.messaging import markdown


def options_of(access: Access) -> markdown.Options:
    """What the settings say."""
    formulas = access.setting("Katex_Enabled")
    return markdown.Options(
        colors=access.setting("HexColorPreview_Enabled"),
        emoticons=True,
        dollar_formulas=formulas and access.setting("Katex_Dollar_Syntax"),
        parenthesis_formulas=formulas and access.setting("Katex_Parenthesis_Syntax"),
        custom_domains=_domains(access.setting("Message_CustomDomain_AutoLink")),
    )


@lru_cache(maxsize=8)
def _domains(listed: str) -> frozenset[str]:
    """The domains in a list with commas, in lower case as hosts are compared."""
    return frozenset(filter(None, (domain.strip().lower() for domain in listed.split(","))))


def described(
    attachments: list[dict[str, Any]], options: markdown.Options, most_characters: int
) -> list[dict[str, Any]]:
    """The attachments with the trees of their descriptions, and without any that came from outside.

    Descriptions that are longer than `most_characters`, together with those before them, have none: clients show them
    as they are.
    """
    described: list[dict[str, Any]] = []
    for attachment in attachments:
        attachment = plain_attachment(attachment)
        description = attachment.get("description")
        if isinstance(description, str) and 0 < len(description) <= most_characters:
            most_characters -= len(description)
            attachment["descriptionMd"] = markdown.parse(description, options)
        described.append(attachment)
    return described


def plain_attachment(attachment: dict[str, Any]) -> dict[str, Any]:
    """The attachment without the tree of its description."""
    return {name: value for name, value in attachment.items() if name != "descriptionMd"}

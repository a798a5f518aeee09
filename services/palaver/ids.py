"""Ids and tokens, and the one encoder that turns an id of any characters into a subject token."""

import secrets

# No character that is easily mistaken for another one.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")


def new_id(length: int = 17) -> str:
    """A random id of the alphabet that Rocket.Chat's clients expect: 17 characters, about 98 bits."""
    size = len(ALPHABET)
    bits = secrets.randbits(length * 8)
    characters = []
    for _ in range(length):
        bits, index = divmod(bits, size)
        characters.append(ALPHABET[index])
    return "".join(characters)


def new_token() -> str:
    """A login token: 43 URL-safe characters, 256 bits."""
    return secrets.token_urlsafe(32)


def direct_room_id(user_ids: list[str]) -> str:
    """The id of the direct room of these users: two ids sorted and joined; one id twice for notes to oneself.

    More than two users have a random id, found again by their sorted list.
    """
    first, second = sorted(user_ids if len(user_ids) == 2 else [user_ids[0], user_ids[0]])
    return first + second


def encode_subject_token(text: str) -> str:
    """One token of a subject for any text: injective, never empty, without '.', '*', '>', spaces or '_'-ambiguity.

    Characters outside [A-Za-z0-9-] become `_` and two hexadecimal digits for each byte of their UTF-8 form.
    """
    if text and all(character in _SAFE for character in text):
        return text
    if not text:
        return "_"
    return "".join(c if c in _SAFE else "".join(f"_{byte:02x}" for byte in c.encode()) for c in text)


def decode_subject_token(token: str) -> str:
    """The text that `encode_subject_token` encoded. Raises ValueError on anything else."""
    if token == "_":
        return ""
    data = bytearray()
    position = 0
    while position < len(token):
        if token[position] == "_":
            data.append(int(token[position + 1 : position + 3], 16))
            position += 3
        else:
            data += token[position].encode()
            position += 1
    text = data.decode()
    if encode_subject_token(text) != token:
        raise ValueError(f"not an encoded subject token: {token!r}")
    return text

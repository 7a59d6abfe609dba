"""What should not stand in a script in clear: passwords, tokens, keys, and addresses with a password in them.

constants -> [secrets] -> the names to be told of
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["looks_secret", "secrets_in"]

WORDS: Final = frozenset({
    "apikey", "auth", "authorization", "credential", "credentials", "key", "passcode", "passphrase", "passwd",
    "password", "pw", "pwd", "secret", "secrets", "token", "tokens",
})  # fmt: skip
WITH_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@", re.IGNORECASE)
KEPT_ELSEWHERE: Final = "env:"  # a reference to the environment


def secrets_in(constants: Mapping[str, Any]) -> list[str]:
    """Return the names of constants that hold a secret, by their own name, by that of what is in them, or by its form.

    >>> secrets_in({"API_TOKEN": "abc", "URL": "mqtt://me:secret@host", "LIMIT": 15, "TOKEN": "env:TOKEN"})
    ['API_TOKEN', 'URL']
    """
    return [name for name, value in constants.items() if any(_secrets(name, value, set()))]


def looks_secret(text: str) -> bool:
    """Return whether a text has an address with a password in it."""
    return WITH_PASSWORD.search(text) is not None


def _secrets(name: str, value: Any, seen: set[int]) -> Iterator[bool]:
    if isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode("latin-1")
        if text and not text.startswith(KEPT_ELSEWHERE):
            yield looks_secret(text) or _is_telling(name)
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from _secrets(f"{name} {key}" if isinstance(key, str) else name, inner, seen)
        elif isinstance(value, list | tuple | set | frozenset):
            for inner in value:
                yield from _secrets(name, inner, seen)
        elif hasattr(value, "__dict__") and not callable(value):
            yield from _secrets(name, vars(value), seen)


def _is_telling(name: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return not WORDS.isdisjoint(word.lower() for word in words)

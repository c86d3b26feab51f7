"""Reading Content-Type as browsers do, also where several values were joined into one.

Source: Fetch, "extract a MIME type" from header values: the last valid one counts, and keeps the
charset of an earlier one of the same type. Lenient in one thing: quotes of either kind go.
"""

from __future__ import annotations

import re
from typing import Final

_VALUE: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^",])++|"[^,]*+')
_PARAMETER: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^";])++|"[^;]*+')
_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]++/[!#$%&'*+.^_`|~0-9a-z-]++")
_ANY_CHARSET: Final = re.compile(r"charset\s*+=\s*+[\"']?([^\s\"';,>]++)", re.IGNORECASE)


def media_type(value: str) -> tuple[str, str | None]:
    """Return the type and its charset, as labelled; an empty type when no value is a valid one."""
    essence, charset = "", None
    for one in _VALUE.findall(value):
        parts = [part.strip() for part in _PARAMETER.findall(one)]
        kind = parts[0].lower() if parts else ""
        if kind == "*/*" or _TYPE.fullmatch(kind) is None:
            continue
        label = next((found for part in parts[1:] if (found := _charset(part)) is not None), None)
        if kind != essence or label is not None:
            charset = label
        essence = kind
    return essence, charset


def charset_of(value: str) -> str | None:
    """Return the label of the charset in a Content-Type; also of one that is not valid."""
    essence, charset = media_type(value)
    if essence:
        return charset
    found = _ANY_CHARSET.search(value)
    return found[1] if found is not None else None


def _charset(parameter: str) -> str | None:
    name, equals, value = parameter.partition("=")
    if not equals or name.strip().lower() != "charset":
        return None
    return value.strip().strip("\"'").strip() or None

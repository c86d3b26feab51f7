"""Leave user names and passwords out of URLs: they are neither stored nor shown.

No request carries them (`obtain/place.py`), so that https://user:secret@host/a.jpg and
https://host/a.jpg are one candidate.
"""

from __future__ import annotations

import re
from typing import Final

# What stands before the colon is not looked at: finding where a scheme begins in a long run of
# letters takes time that grows with the square of its length.
_USER: Final = re.compile(r"(:[/\\]{2,})[^/\\?#\s\"<>]*@")


def without_user(text: str) -> str:
    """Return a URL, or a text that may hold some, without the user and password of each URL."""
    return _USER.sub(r"\1", text) if "@" in text else text

"""Texts of others without the secrets that may be in them.

What stores, libraries and servers say goes into records, logs and messages. A text may hold a URL
that somebody signed, a header that a server repeats, or a key of this process's own environment.
"""

import os
import re
from typing import Final

CUT: Final = "…"
SHORTEST_SECRET: Final = 8  # characters of a value that is looked for; shorter ones are words

_END: Final = r"\s'\"<>,;&"  # none of these is part of a secret
_NAME: Final = (
    r"(?:[\w.-]*(?:authori[sz]ation|credential|jwt|passw|secret|signature|token)[\w.-]*"
    r"|(?:[\w.-]*[-_.])?(?:sig|pwd)|[\w.-]*(?:access|account|api|private|shared)[-_]?key(?:[-_]?id)?)"
)
_PATTERNS: Final = (
    (rf"(https?://[^{_END}?#]*)[?#][^\s'\"<>]*", rf"\1?{CUT}"),
    (rf"(://)[^/?#{_END}]*:[^{_END}@]*@", rf"\1{CUT}@"),
    (rf"(https?://)[^/?#{_END}@]+@", rf"\1{CUT}@"),
    (rf"\b(bearer|basic|aws4-hmac-sha256|sharedkey)\s+[^{_END}]{{8,}}", rf"\1 {CUT}"),
    (rf"\b({_NAME}['\"]?\s*=\s*['\"]?)[^{_END}]+", rf"\1{CUT}"),
)
_SECRET_VARIABLE: Final = re.compile(
    r"(?:KEY|KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|CONNECTION_STRING)$", re.I
)


def redacted(text: str) -> str:
    """The text without query strings, passwords, signatures, tokens, and secrets of this process.

    Secrets of this process are the values of environment variables that are named as such.
    """
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and _SECRET_VARIABLE.search(name) and value[0] != "/":
            text = text.replace(value, CUT)
    for pattern, replacement in _PATTERNS:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    return text

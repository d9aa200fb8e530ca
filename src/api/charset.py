"""From the bytes of a response to its text, as the Encoding Standard decodes (§6 "decode")."""

from __future__ import annotations

import codecs
from email.message import Message

DEFAULT_CHARSET = "utf-8"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
# Encoding Standard §4.2: what a label means on the web, where that is more than its name says.
_WEB_MEANING = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "utf-16": "utf-16-le",
}


def decode(content: bytes, content_type: str | None) -> str:
    """Decode a body; one leading byte order mark is dropped, and decides over the charset.

    Without a mark the `charset` of the content type is used, else UTF-8. Malformed bytes become
    U+FFFD; an unknown charset is read as UTF-8.
    """
    for mark, charset in _BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(charset, "replace")
    try:
        return content.decode(charset_of(content_type), "replace")
    except (LookupError, ValueError):  # not a text encoding, or one that cannot replace
        return content.decode(DEFAULT_CHARSET, "replace")


def charset_of(content_type: str | None) -> str:
    """The Python codec for the `charset` parameter of a content type; UTF-8 when it has none.

    Raises:
        LookupError, ValueError: Python knows no such codec.
    """
    message = Message()
    message["content-type"] = content_type or ""
    label = message.get_content_charset(DEFAULT_CHARSET)
    name = codecs.lookup(label).name
    return _WEB_MEANING.get(name, name)

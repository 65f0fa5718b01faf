"""Reading the few fields of an X.509 certificate that an API server needs, without a cryptography library.

OpenSSL has verified the certificate during the TLS handshake; what is left is to find the subject's names, so that a
process which only serves never pays for importing a library that can also make certificates.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import attrs

_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_UTC_TIME = 0x17
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}


@attrs.frozen(slots=True)
class Summary:
    """What a certificate says: of whom, and until when."""

    common_name: str
    organizations: tuple[str, ...]
    not_before: float  # epoch seconds
    not_after: float


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the content begins, where it ends) of the DER element at `at`."""
    tag, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + length > len(data):
        raise ValueError("truncated")
    return tag, at, at + length


def _children(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    out = []
    while start < end:
        child = _element(data, start)
        out.append(child)
        start = child[2]
    return out


def _time(data: bytes, element: tuple[int, int, int]) -> float:
    tag, start, end = element
    text = data[start:end].decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280: two digits from 50 on are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def summary(der: bytes) -> Summary:
    """Raises ValueError for what is no certificate."""
    try:
        _, start, _ = _element(der, 0)
        _, start, end = _element(der, start)
        fields = _children(der, start, end)
        if fields[0][0] == 0xA0:  # the explicit version, absent in version 1
            fields = fields[1:]
        _serial, _algorithm, _issuer, validity, subject = fields[:5]
        names: dict[bytes, list[str]] = {}
        for _, set_start, set_end in _children(der, subject[1], subject[2]):
            for _, pair_start, pair_end in _children(der, set_start, set_end):
                oid, value = _children(der, pair_start, pair_end)
                text = der[value[1] : value[2]].decode(_ENCODINGS.get(value[0], "utf-8"))
                names.setdefault(der[oid[1] : oid[2]], []).append(text)
        before, after = _children(der, validity[1], validity[2])
        return Summary(
            (names.get(_COMMON_NAME) or [""])[-1],
            tuple(names.get(_ORGANIZATION, ())),
            _time(der, before),
            _time(der, after),
        )
    except (IndexError, ValueError) as error:
        raise ValueError(f"not an X.509 certificate: {error}") from error


def der(pem: bytes | str) -> bytes:
    """The first certificate of a PEM text. Raises ValueError."""
    text = pem.decode("ascii") if isinstance(pem, bytes) else pem
    _, found, rest = text.partition("-----BEGIN CERTIFICATE-----")
    body, closed, _ = rest.partition("-----END CERTIFICATE-----")
    if not found or not closed:
        raise ValueError("no certificate in PEM form")
    return base64.b64decode(body)

"""What Go's HTTP client says when a call fails: clients and their operators know webhook trouble by these texts."""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
from collections.abc import Iterator

from kcore.http.client import Answer

_X509 = "tls: failed to verify certificate: x509: "
# X509_V_ERR_* of OpenSSL
_EXPIRED, _NOT_YET, _HOSTNAME, _ADDRESS = 10, 9, 62, 64

_STATUS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def describe(error: BaseException, host: str, port: int, server_name: str) -> str:
    """The text for a connection that failed."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _X509 + _certificate(cause, server_name)
        if isinstance(cause, ssl.SSLError):
            return _tls(cause)
        if isinstance(cause, socket.gaierror):
            return f"dial tcp: lookup {host}: no such host"
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            text = os.strerror(cause.errno).lower()
            if cause.errno in (errno.EPIPE, errno.ECONNRESET):
                return f"write tcp {address}: {text}"
            return f"dial tcp {address}: connect: {text}"
    text = str(error)
    if "without an answer" in text or "ended during the TLS" in text or "before its answer" in text:
        return "EOF"
    if "is no HTTP" in text:
        return "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        if isinstance(seen, BaseExceptionGroup):
            for inner in seen.exceptions:
                yield from _causes(inner)
        seen = seen.__cause__ or seen.__context__


def _certificate(error: ssl.SSLCertVerificationError, server_name: str) -> str:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return "certificate has expired or is not yet valid"
    if error.verify_code == _HOSTNAME:
        return f"certificate is not valid for any names, but wanted to match {server_name}"
    if error.verify_code == _ADDRESS:
        return f"cannot validate certificate for {server_name} because it doesn't contain any IP SANs"
    return "certificate signed by unknown authority"


def _tls(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "http: server gave HTTP response to HTTPS client"
    return "remote error: tls: " + reason.lower().replace("_", " ")


def unexpected_status(answer: Answer) -> str:
    """The text for an answer that is neither a success nor a Status."""
    content = answer.headers.get("content-type", "")
    body = "unknown"
    if not content or content.startswith("text/"):
        body = answer.body[: 2048 * 10].decode("utf-8", "replace").strip()
    if answer.status in (403, 406, 415):
        return body
    found = _STATUS.get(answer.status)
    if found is not None:
        return found
    if answer.status >= 500:
        quoted = json.dumps(body, ensure_ascii=False)
        return f"an error on the server ({quoted}) has prevented the request from succeeding"
    return f"the server responded with the status code {answer.status} but did not return more information"


def json_kind(value: object) -> str:
    """What Go calls a JSON value of this sort."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "number"


def json_error(data: bytes) -> str:
    """What Go's decoder says of bytes that are no JSON."""
    from kcore.api.codec.json import loads

    try:
        loads(data)
    except ValueError as error:
        return str(error)
    return "invalid JSON"

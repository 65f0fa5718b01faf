"""Taking a client certificate that cannot be verified, so that its bearer can be told 401 in HTTP.

kube-apiserver asks for a certificate and verifies it after the handshake: a foreign or expired one is a wrong
credential, not a wrong connection, and a good token beside it counts. Python's `ssl` knows only "verify or end the
handshake", so for a server's context OpenSSL's own verification is called from a callback that remembers a refusal
and lets the handshake go on. A handshake is one synchronous call, so the refusal belongs to the call just made.

Where OpenSSL cannot be reached (another interpreter, another build) `admit` says so and the context stays strict.
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: who authenticates looks at the times
_KNOWN_LAYOUT = sys.implementation.name == "cpython" and sys.version_info < (3, 15)


class _Met(threading.local):
    refused = False


_met = _Met()


def forget() -> None:
    """Before a step of a handshake."""
    _met.refused = False


def met() -> bool:
    """Whether the step just made showed a certificate that was not verified."""
    return _met.refused


def admit(context: ssl.SSLContext) -> bool:
    """Let handshakes of a server's `context` succeed whatever certificate is shown; whether that can be done.

    From then on ``TlsStream.peer_verified`` is to be asked before a peer's certificate is believed.
    """
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    found = _openssl()
    if found is None:
        return False
    pointer, mode, install, callback = found
    if mode(pointer(context)) != context.verify_mode:  # 1 is CERT_OPTIONAL, as Python and OpenSSL number them
        return False
    install(pointer(context), callback, None)
    return True


@cache
def _openssl() -> tuple[Callable[[ssl.SSLContext], Any], Callable[..., int], Callable[..., None], Any] | None:
    """(how to find a context's SSL_CTX, what asks for its mode, what sets its callback, the callback); None if out of
    reach."""
    if not _KNOWN_LAYOUT:
        return None
    import _ssl
    import ctypes

    try:
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        install, verify = library.SSL_CTX_set_cert_verify_callback, library.X509_verify_cert
        get_mode = library.SSL_CTX_get_verify_mode
    except (OSError, AttributeError):
        return None
    install.argtypes, install.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p], None
    verify.argtypes, verify.restype = [ctypes.c_void_p], ctypes.c_int
    get_mode.argtypes, get_mode.restype = [ctypes.c_void_p], ctypes.c_int

    def pointer(context: ssl.SSLContext) -> Any:
        # the member after the object's head, since Python 3.2
        return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)

    def check(store: int, _argument: int) -> int:
        _met.refused = verify(store) != 1
        return 1

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(check)
    return pointer, get_mode, install, callback

"""Encryption at rest: between the API machinery and whatever store there is.

    objects -> EncryptedStore.put   -> ``k8s:enc:aesgcm:v1:key1:`` and ciphertext -> the store, its log, its history
    caches  <- EncryptedStore.watch <- the same bytes, opened once for each change

What cannot be opened is no fault of the cache: it arrives there as `Sealed` and is an error for whoever reads it. What
can be opened but would be written in another way now arrives as `Stale`, so that writing it again, unchanged, is a
write: that is how ``kubectl get secrets -A -o json | kubectl replace -f -`` brings a new key to everything.
"""

from __future__ import annotations

from kcore import errors


class Stale(bytes):
    """A value that would be stored with another key, or encrypted at all, if it were written now."""

    __slots__ = ()


class Sealed(bytes):
    """A value that no key opens. The bytes are why, in words."""

    __slots__ = ()


def sealed(key: str, why: str) -> errors.InternalError:
    """What somebody is told who reads what cannot be opened."""
    return errors.InternalError(
        f'Internal error occurred: unable to transform key "{key}": {why}', details={"causes": [{"message": why}]}
    )

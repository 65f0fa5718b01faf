"""Ways to lie in the store: as upstream's, byte for byte, so that data can be taken from one to the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

_ENCRYPTED = b"k8s:enc:"


class Unreadable(Exception):
    """Why a value cannot be opened."""


class Transformer(Protocol):
    prefix: bytes

    def seal(self, value: bytes, key: bytes) -> bytes: ...

    def open(self, data: bytes, key: bytes) -> bytes:
        """Raises Unreadable."""


class Identity:
    """As it is."""

    prefix = b""

    def seal(self, value: bytes, key: bytes) -> bytes:
        return value

    def open(self, data: bytes, key: bytes) -> bytes:
        if data.startswith(_ENCRYPTED):
            raise Unreadable("identity transformer tried to read encrypted data")
        return data


class AesGcm:
    """AES-GCM; the nonce is random, and the value is bound to its key in the store."""

    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.prefix = b"k8s:enc:aesgcm:v1:%b:" % name.encode()
        self._cipher = AESGCM(secret)

    def seal(self, value: bytes, key: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, value, key)

    def open(self, data: bytes, key: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(data) < 12:
            raise Unreadable("the stored data was shorter than the required size")
        try:
            return self._cipher.decrypt(data[:12], data[12:], key)
        except InvalidTag:
            raise Unreadable("cipher: message authentication failed") from None


class AesCbc:
    """AES-CBC with PKCS#7 padding. Nothing says whether the bytes are the ones that were written: prefer AES-GCM."""

    def __init__(self, name: str, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self.prefix = b"k8s:enc:aescbc:v1:%b:" % name.encode()
        self._aes = AES(secret)

    def seal(self, value: bytes, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        iv = os.urandom(16)
        padding = 16 - len(value) % 16
        packer = Cipher(self._aes, CBC(iv)).encryptor()
        return iv + packer.update(value + bytes((padding,)) * padding) + packer.finalize()

    def open(self, data: bytes, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        if len(data) < 16:
            raise Unreadable("the stored data was shorter than the required size")
        if len(data) % 16 or len(data) == 16:
            raise Unreadable("the stored data is not a multiple of the block size")
        opener = Cipher(self._aes, CBC(data[:16])).decryptor()
        value = opener.update(data[16:]) + opener.finalize()
        padding = value[-1]
        if not 1 <= padding <= 16 or value[-padding:] != bytes((padding,)) * padding:
            raise Unreadable("invalid padding on input")
        return value[:-padding]


class Chain:
    """The providers of a resource: the first writes, all read."""

    def __init__(self, transformers: Sequence[Transformer]) -> None:
        self._first, self._all = transformers[0], transformers

    def seal(self, value: bytes, key: str) -> bytes:
        return self._first.prefix + self._first.seal(value, key.encode())

    def open(self, data: bytes, key: str) -> tuple[bytes, bool]:
        """The value, and whether it would be stored otherwise now. Raises Unreadable."""
        why: list[str] = []
        for transformer in self._all:
            if data.startswith(transformer.prefix):
                try:
                    value = transformer.open(data[len(transformer.prefix) :], key.encode())
                except Unreadable as error:
                    why.append(str(error))
                    continue
                return value, transformer is not self._first
        raise Unreadable("; ".join(why) or "no matching prefix found")

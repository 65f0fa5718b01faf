"""Encryption at rest: what lies in the store, rotation, and keys that do not fit."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from kcore_store_memory.store import MemoryStore

from kcore.api.atrest.config import Rules, parse
from kcore.api.atrest.store import EncryptedStore
from kcore.api.atrest.transform import AesCbc, AesGcm, Chain, Identity, Unreadable
from kcore.errors import ConfigError

from .conftest import Api, serving

SECRETS = "/api/v1/namespaces/default/secrets"
KEY = "/registry/core/secrets/default/s"


def secret(fill: int) -> str:
    return base64.b64encode(bytes((fill,)) * 32).decode()


def provider(kind: str, *names: str) -> dict[str, Any]:
    return {kind: {"keys": [{"name": name, "secret": secret(ord(name[-1]))} for name in names]}}


def rules(*providers: dict[str, Any], resources: tuple[str, ...] = ("secrets",)) -> Rules:
    entry = {"resources": list(resources), "providers": list(providers)}
    return parse({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [entry]})


IDENTITY: dict[str, Any] = {"identity": {}}


@asynccontextmanager
async def over(store: MemoryStore, given: Rules) -> Any:
    async with serving(store=EncryptedStore(store, given)) as api:  # type: ignore[arg-type]
        yield api


@asynccontextmanager
async def stored() -> Any:
    store = MemoryStore(1000, 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        yield store
        nursery.cancel_scope.cancel()


async def lying(store: MemoryStore, key: str = KEY) -> bytes:
    found = await store.get(key)
    assert found is not None
    return found.value


async def create(api: Api) -> None:
    await api.call("POST", SECRETS, {"metadata": {"name": "s"}, "stringData": {"a": "hush"}}, expect=201)


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc"])
async def test_the_store_sees_ciphertext_and_clients_do_not(kind: str) -> None:
    async with stored() as store:
        async with over(store, rules(provider(kind, "key1"), IDENTITY)) as api:
            watch = await api.watch("/api/v1/secrets?watch=1&resourceVersion=0")
            await create(api)
            raw = await lying(store)
            assert raw.startswith(f"k8s:enc:{kind}:v1:key1:".encode())
            assert b"hush" not in raw
            assert base64.b64encode(b"hush") not in raw
            assert (await watch.next())["object"]["metadata"]["name"] == "s"
            await watch.close()
            await api.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}}, expect=201)
            assert (await lying(store, "/registry/core/configmaps/default/c")).startswith(b"{")
        async with over(store, rules(provider(kind, "key1"))) as api:  # after a restart
            found = await api.call("GET", f"{SECRETS}/s", expect=200)
            assert base64.b64decode(found["data"]["a"]) == b"hush"


async def test_writing_everything_again_brings_the_new_key() -> None:
    async with stored() as store:
        async with over(store, rules(IDENTITY)) as api:
            await create(api)
            assert b"k8s:enc" not in await lying(store)
        for new, old in (("key1", IDENTITY), ("key2", provider("aesgcm", "key1"))):
            async with over(store, rules(provider("aesgcm", new), old)) as api:
                found = await api.call("GET", f"{SECRETS}/s", expect=200)
                written = await api.call("PUT", f"{SECRETS}/s", found, expect=200)
                assert written["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
                assert (await lying(store)).startswith(f"k8s:enc:aesgcm:v1:{new}:".encode())
                again = await api.call("PUT", f"{SECRETS}/s", written, expect=200)
                assert again["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
        async with over(store, rules(provider("aesgcm", "key2"))) as api:  # the old key may go now
            await api.call("GET", f"{SECRETS}/s", expect=200)


async def test_what_no_key_opens_is_an_error_of_the_read_alone() -> None:
    async with stored() as store:
        async with over(store, rules(provider("aesgcm", "key1"))) as api:
            await create(api)
        wrong = {"aesgcm": {"keys": [{"name": "key1", "secret": secret(9)}]}}
        for given, why in (
            (rules(wrong), "cipher: message authentication failed"),
            (rules(provider("aesgcm", "key2")), "no matching prefix found"),
            (rules(IDENTITY), "identity transformer tried to read encrypted data"),
        ):
            async with over(store, given) as api:
                for path in (f"{SECRETS}/s", SECRETS, "/api/v1/secrets"):
                    status = await api.call("GET", path, expect=500)
                    assert status["reason"] == "InternalError"
                    assert status["message"] == f'Internal error occurred: unable to transform key "{KEY}": {why}'
                await api.call("GET", "/api/v1/namespaces/kube-system/secrets", expect=200)
                await api.call("GET", "/api/v1/namespaces/default/configmaps", expect=200)
                await api.call("POST", SECRETS, {"metadata": {"name": "s"}}, expect=500)


async def test_keys_that_come_back_open_what_was_sealed() -> None:
    async with stored() as store:
        async with over(store, rules(provider("aesgcm", "key1"))) as api:
            await create(api)
        encrypted = EncryptedStore(store, rules(provider("aesgcm", "key2")))
        async with serving(store=encrypted) as api:  # type: ignore[arg-type]
            await api.call("GET", f"{SECRETS}/s", expect=500)
            encrypted.rules = rules(provider("aesgcm", "key2", "key1"))
            await api.server.feed.look_again()
            found = await api.call("GET", f"{SECRETS}/s", expect=200)
            await api.call("GET", SECRETS, expect=200)
            await api.call("PUT", f"{SECRETS}/s", found, expect=200)
            assert (await lying(store)).startswith(b"k8s:enc:aesgcm:v1:key2:")


@pytest.mark.parametrize(
    ("names", "prefix", "found"),
    [
        (("secrets",), "core/secrets", True),
        (("secrets",), "core/configmaps", False),
        (("deployments.apps",), "apps/deployments", True),
        (("*.apps",), "apps/deployments", True),
        (("*.apps",), "core/secrets", False),
        (("*.",), "core/secrets", True),
        (("*.",), "apps/deployments", False),
        (("*.*",), "apps/deployments", True),
    ],
)
def test_resources_are_named_as_upstream_names_them(names: tuple[str, ...], prefix: str, found: bool) -> None:
    assert (rules(IDENTITY, resources=names).chain(prefix) is not None) is found


def test_the_first_entry_that_names_a_resource_decides() -> None:
    entries = [
        {"resources": ["secrets"], "providers": [IDENTITY]},
        {"resources": ["*.*"], "providers": [provider("aesgcm", "key1")]},
    ]
    made = parse({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": entries})
    secrets, others = made.chain("core/secrets"), made.chain("apps/deployments")
    assert secrets is not None
    assert others is not None
    assert secrets.seal(b"x", "k") == b"x"
    assert others.seal(b"x", "k").startswith(b"k8s:enc:")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"k8s:enc:aesgcm:v1:k:", b"k8s:enc:aescbc:v1:k:" + b"x" * 31, b"k8s:enc:aescbc:v1:k:" + b"x" * 16],
)
def test_what_is_no_ciphertext_is_unreadable(data: bytes) -> None:
    chain = Chain([AesGcm("k", b"x" * 32), AesCbc("k", b"x" * 32)])
    with pytest.raises(Unreadable):
        chain.open(data, KEY)


def test_a_value_is_bound_to_its_place_in_the_store() -> None:
    chain = Chain([AesGcm("k", b"x" * 32), Identity()])
    with pytest.raises(Unreadable, match="authentication failed"):
        chain.open(chain.seal(b"value", KEY), KEY + "2")


@pytest.mark.parametrize(
    ("providers", "told"),
    [
        ([], "at least one provider"),
        ([{"secretbox": {}}], "secretbox is not to be had here"),
        ([{"identity": {}, "aesgcm": {}}], "exactly one provider"),
        ([{"aesgcm": {"keys": []}}], "at least one key"),
        ([{"aesgcm": {"keys": [{"name": "a", "secret": "AAAA"}]}}], "3 bytes; a key has one of 16, 24, 32"),
        ([{"aesgcm": {"keys": [{"name": "a:b", "secret": secret(1)}]}}], "a name without a colon"),
        ([{"aesgcm": {"keys": [{"name": "a", "secret": "?"}]}}], "base64 is expected"),
        ([{"aesgcm": {"keys": [{"name": "a", "secret": secret(1)}] * 2}}], "two keys of this name"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_without_showing_keys(providers: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules(*providers)
    assert told in str(caught.value)
    assert secret(1) not in str(caught.value)
    assert msgspec.json.encode(str(caught.value))

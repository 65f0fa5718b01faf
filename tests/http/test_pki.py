"""The CA and what it signs; kubeconfig files."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from kcore import clock, kubeconfig
from kcore.errors import UserError
from kcore.http.tls import TlsStream
from kcore.pki import Pki, client_context, x509


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[TlsStream, TlsStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    one = TlsStream(theirs, server, server_side=True)
    two = TlsStream(ours, client, server_hostname=host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.handshake)
        nursery.start_soon(two.handshake)
    return one, two


async def test_both_sides_know_each_other_and_speak(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    certificate, key = pki.client_certificate("jane", ["dev"])
    for host in ("localhost", "127.0.0.1"):
        server, client = await handshake(
            pki.server_context(["localhost", "127.0.0.1"]), pki.client_context(certificate, key), host
        )
        shown = server.ssl.getpeercert(binary_form=True)
        assert shown is not None
        assert x509.summary(shown).common_name == "jane"
        assert client.ssl.selected_alpn_protocol() == "http/1.1"
        big = bytes(range(256)) * 4000
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, big)
            while len(received) < len(big):
                received += await client.receive_some()
        assert received == big
        await server.aclose()
        assert await client.receive_some() == b""
        await client.aclose()


async def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    with pytest.raises(ExceptionGroup):
        await handshake(pki.server_context(["localhost"]), pki.client_context(), "example.com")


async def test_no_client_certificate_is_fine(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    server, _ = await handshake(pki.server_context(["localhost"]), pki.client_context(), "localhost")
    assert server.ssl.getpeercert(binary_form=True) is None


def test_what_was_made_is_kept_private_and_used_again(tmp_path: Path) -> None:
    first = Pki.open(tmp_path)
    pair, token_key = first.client_certificate("jane", ["a", "b"]), first.service_account_key()
    server = first.server_certificate(["localhost"])
    again = Pki.open(tmp_path)
    assert again.ca_pem == first.ca_pem
    assert again.client_certificate("jane", ["b", "a"]) == pair
    assert again.server_certificate(["localhost"]) == server
    assert again.service_account_key() == token_key
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "pki").iterdir()} == {0o600}
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700


def test_other_groups_or_names_make_a_new_certificate(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    assert pki.client_certificate("jane", ["a"]) != pki.client_certificate("jane", ["b"])
    assert pki.server_certificate(["localhost"]) != pki.server_certificate(["localhost", "10.0.0.1"])
    pki.client_certificate("system:node:../../etc/passwd", [])
    assert all(p.parent == tmp_path / "pki" for p in tmp_path.rglob("*") if p.is_file())


def test_servers_with_different_names_do_not_take_each_others_certificate(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    api, kubelet = pki.server_certificate(["kubernetes"]), pki.server_certificate(["kubelet"])
    assert pki.server_certificate(["kubernetes"]) == api
    assert pki.server_certificate(["kubelet"]) == kubelet


def test_a_damaged_certificate_is_made_anew(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    pki.client_certificate("jane")
    (file,) = (tmp_path / "pki").glob("client-jane-*.pem")
    file.write_bytes(file.read_bytes()[:100])
    certificate, key = pki.client_certificate("jane")
    pki.client_context(certificate, key)


async def test_certificates_are_renewed_before_they_expire(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    clock.use_virtual()
    pki = Pki.open(tmp_path)
    old, _ = pki.client_certificate("jane")
    await trio.sleep(200 * 86400)
    assert pki.client_certificate("jane")[0] == old
    await trio.sleep(100 * 86400)
    new, _ = Pki.open(tmp_path).client_certificate("jane")
    assert x509.summary(x509.der(new)).not_after > x509.summary(x509.der(old)).not_after
    await trio.sleep(3650 * 86400)
    with pytest.raises(UserError, match="the CA expired at"):
        Pki.open(tmp_path)


def test_a_new_ca_replaces_what_the_old_one_signed(tmp_path: Path) -> None:
    old = Pki.open(tmp_path).server_certificate(["localhost"])
    for file in ("ca.crt", "ca.key"):
        (tmp_path / "pki" / file).unlink()
    assert Pki.open(tmp_path).server_certificate(["localhost"]) != old


def test_a_damaged_directory_is_one_clear_line(tmp_path: Path) -> None:
    Pki.open(tmp_path)
    (tmp_path / "pki" / "ca.crt").write_text("garbage")
    with pytest.raises(UserError, match="cannot keep certificates here: no certificate in PEM form"):
        Pki.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep certificates here"):
        Pki.open(tmp_path / "file")


def test_a_warm_start_does_without_the_cryptography_library(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kcore.pki import Pki; pki = Pki.open(Path(sys.argv[1]));"
        "pki.server_context(['localhost']); pki.client_context(*pki.client_certificate('jane', ['a']));"
        "print('cryptography' in sys.modules)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            check=True,
            text=True,
            cwd=Path(__file__).parents[2],
        ).stdout.strip()
        for _ in range(2)
    ]
    assert told == ["True", "False"]


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x30\x82\xff\xff\x00", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an X\.509 certificate"):
        x509.summary(data)


def test_a_client_certificate_that_cannot_be_used_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        client_context(Pki.open(tmp_path).ca_pem, b"nonsense", b"nonsense")


# --- kubeconfig ---


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "config"
    kubeconfig.write(path, "https://127.0.0.1:6443", b"CA", b"CERT", b"KEY", cluster="kcore-dev")
    found = kubeconfig.load(path)
    assert found == kubeconfig.Connection("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY", context="kcore-dev")
    assert path.stat().st_mode & 0o777 == 0o600


FOREIGN = """
apiVersion: v1
kind: Config
current-context: work
clusters:
- {name: work, cluster: {server: "https://work:443/prefix", insecure-skip-tls-verify: true}}
- {name: kcore-dev, cluster: {server: "https://mine"}}
users:
- {name: me, user: {token: secret, exec: {command: x}}}
contexts:
- {name: work, context: {cluster: work, user: me, namespace: team}}
"""


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    with pytest.raises(UserError, match="already has a cluster 'kcore-dev' that kcore did not write"):
        kubeconfig.write(path, "https://a", b"", b"", b"", cluster="kcore-dev")
    assert path.read_text() == FOREIGN
    kubeconfig.write(path, "https://a", b"", b"", b"", cluster="kcore-two")
    kubeconfig.write(path, "https://b", b"", b"", b"", cluster="kcore-two")  # its own: replaced
    work = kubeconfig.load(path)
    assert (work.server, work.token, work.insecure, work.namespace) == (
        "https://work:443/prefix",
        "secret",
        True,
        "team",
    )
    assert kubeconfig.load(path, "kcore-two").server == "https://b"
    assert json.loads(path.read_text())["users"][0]["user"]["exec"] == {"command": "x"}


def test_files_beside_a_kubeconfig_are_found(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"CA")
    (tmp_path / "token").write_bytes(b"T\n")
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://x/", "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    found = kubeconfig.load(tmp_path / "config")
    assert (found.server, found.ca_pem, found.token) == ("https://x", b"CA", "T")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not a kubeconfig"),
        ("- 1", "the top level must be a mapping"),
        ("{}", "no context ''; it has none"),
        ('{"contexts":[{"name":"a"}],"current-context":"b"}', "no context 'b'; it has a"),
        ('{"contexts":[{"name":"a"}],"current-context":"a"}', "which is not there"),
        (
            '{"contexts":[{"name":"a","context":{"cluster":"c"}}],"current-context":"a",'
            '"clusters":[{"name":"c","cluster":{"certificate-authority-data":"!"}}]}',
            "is not base64",
        ),
    ],
)
def test_what_is_no_kubeconfig_is_one_clear_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UserError) as caught:
        kubeconfig.load(tmp_path / "config")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kubeconfig_for_another_user(tmp_path: Path) -> None:
    pki = Pki.open(tmp_path)
    admin = pki.client_certificate("kubernetes-admin", ["system:masters"])
    kubeconfig.write(tmp_path / "config", "https://127.0.0.1:1", pki.ca_pem, *admin)
    (tmp_path / "other").write_text(kubeconfig.for_user(tmp_path / "config", pki, "jane", ["dev"]))
    found = kubeconfig.load(tmp_path / "other")
    assert found.server == "https://127.0.0.1:1"
    assert x509.summary(x509.der(found.certificate)).common_name == "jane"

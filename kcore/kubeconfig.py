"""kubeconfig files (client-go's ``v1 Config``): read them to connect, write them so that kubectl can.

Other people's entries in a file are left as they are, in every case: `write` touches only what it wrote before.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from kcore.errors import UserError

if TYPE_CHECKING:
    from kcore.pki import Pki

_MARK = "kcore.dev/managed"  # an extension on each of our entries, as minikube and others mark theirs

Json = dict[str, Any]


@attrs.frozen
class Connection:
    """How to reach an API server, and as whom."""

    server: str  # "https://127.0.0.1:6443"
    ca_pem: bytes = b""
    certificate: bytes = b""  # PEM
    key: bytes = b""
    token: str = ""
    insecure: bool = False  # do not verify the server (insecure-skip-tls-verify)
    server_name: str = ""  # the name to expect in the server's certificate, where it is not the host
    namespace: str = "default"
    context: str = ""


def _parse(path: Path) -> Json:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if not raw.strip():
        return {}
    try:
        found = msgspec.json.decode(raw)  # what we write; quick
    except msgspec.DecodeError:
        import yaml

        try:
            found = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not a kubeconfig: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a kubeconfig: the top level must be a mapping")
    return found


def _named(config: Json, section: str, name: str) -> Json | None:
    for entry in config.get(section) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    return None


def load(path: Path | str, context: str = "") -> Connection:
    """The settings of `context`, or of the file's current one. Raises UserError, in one line."""
    path = Path(path)
    config = _parse(path)
    context = context or str(config.get("current-context") or "")
    chosen = _named(config, "contexts", context)
    if chosen is None:
        have = ", ".join(str(c.get("name")) for c in config.get("contexts") or ()) or "none"
        raise UserError(f"{path}: no context {context!r}; it has {have}")
    body = chosen.get("context") or {}
    cluster, user = _named(config, "clusters", body.get("cluster", "")), _named(config, "users", body.get("user", ""))
    if cluster is None:
        raise UserError(f"{path}: context {context!r} names the cluster {body.get('cluster')!r}, which is not there")
    where, who = cluster.get("cluster") or {}, (user or {}).get("user") or {}
    token = str(who.get("token") or "")
    if not token and who.get("tokenFile"):
        token = _file(path, who["tokenFile"]).decode().strip()
    return Connection(
        server=str(where.get("server") or "http://localhost:8080").rstrip("/"),
        ca_pem=_data(path, where, "certificate-authority"),
        certificate=_data(path, who, "client-certificate"),
        key=_data(path, who, "client-key"),
        token=token,
        insecure=bool(where.get("insecure-skip-tls-verify")),
        server_name=str(where.get("tls-server-name") or ""),
        namespace=str(body.get("namespace") or "default"),
        context=context,
    )


def _data(path: Path, entry: Json, key: str) -> bytes:
    inline = entry.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise UserError(f"{path}: {key}-data is not base64: {error}") from error
    return _file(path, entry[key]) if entry.get(key) else b""


def _file(path: Path, name: str) -> bytes:
    """A file that a kubeconfig names: relative to the kubeconfig's own directory."""
    target = path.parent / name
    try:
        return target.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {target}: cannot be read: {error.strerror}") from error


def for_user(path: Path | str, pki: Pki, user: str, groups: Iterable[str] = ()) -> str:
    """A kubeconfig for another user of the cluster whose administrator's kubeconfig is at `path`."""
    base = load(path)
    certificate, key = pki.client_certificate(user, groups)
    name = base.context
    return render(base.server, base.ca_pem, certificate, key, name=name, user=user).decode("ascii")


def render(
    server: str, ca_pem: bytes, certificate: bytes, key: bytes, *, name: str = "kcore", user: str = ""
) -> bytes:
    """A kubeconfig with one cluster, one user and one context, all called `name` (the user `user` if given)."""
    config = {"apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": name}
    return _encode(_merge(config, _entries(server, ca_pem, certificate, key, name, user or name)))


def write(
    path: Path | str,
    server: str,
    ca_pem: bytes,
    certificate: bytes,
    key: bytes,
    *,
    cluster: str = "kcore",
    user: str = "",
    context: str = "",
    make_current: bool = False,
) -> None:
    """Put a cluster, a user and a context into the file at `path`, made if need be (atomically, mode 0600).

    An entry of the same name that kcore did not write, or a file that is no kubeconfig, raises UserError and leaves
    the file as it is. The current context changes only in a new file, or with `make_current`.
    """
    path = Path(path)
    # through a symbolic link: replacing the link itself would split the file from the one it stands for
    target = Path(os.path.realpath(path))
    config = _parse(target) if target.exists() else {}
    entries = _entries(server, ca_pem, certificate, key, context or cluster, user or cluster, cluster)
    for section, name, _ in entries:
        old = _named(config, section, name)
        if old is not None and not _ours(old, section):
            kind = section.removesuffix("s")
            raise UserError(
                f"{path}: already has a {kind} {name!r} that kcore did not write; "
                "choose another cluster name, or another kubeconfig"
            )
    fresh = not config.get("current-context")
    config = _merge({"apiVersion": "v1", "kind": "Config", "preferences": {}, **config}, entries)
    if fresh or make_current:
        config["current-context"] = context or cluster
    _replace(target, _encode(config))


def _entries(
    server: str, ca_pem: bytes, certificate: bytes, key: bytes, context: str, user: str, cluster: str = ""
) -> list[tuple[str, str, Json]]:
    """(section, name, body) of our three entries."""
    cluster = cluster or context
    mark = [{"name": _MARK, "extension": {"provider": "kcore"}}]

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    who: Json = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
    return [
        (
            "clusters",
            cluster,
            {"server": server, "certificate-authority-data": b64(ca_pem), "extensions": mark},
        ),
        ("users", user, {**who, "extensions": mark}),
        ("contexts", context, {"cluster": cluster, "user": user, "extensions": mark}),
    ]


def _ours(entry: Json, section: str) -> bool:
    body = entry.get(section.removesuffix("s")) or {}
    return any(isinstance(e, dict) and e.get("name") == _MARK for e in body.get("extensions") or ())


def _merge(config: Json, entries: list[tuple[str, str, Json]]) -> Json:
    out = dict(config)
    for section, name, body in entries:
        kept = [e for e in out.get(section) or () if not (isinstance(e, dict) and e.get("name") == name)]
        out[section] = [*kept, {"name": name, section.removesuffix("s"): body}]
    return out


def _encode(config: Json) -> bytes:
    """As JSON, which is YAML as well: written and read without a YAML library."""
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error

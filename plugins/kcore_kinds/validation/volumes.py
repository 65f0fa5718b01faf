"""The rules of a pod's volumes and of a PersistentVolume's source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of
from kcore_kinds.validation.containers import field_ref, resource_ref

# In the order in which the server looks at them: the first one found counts, any other is one too many.
SOURCES = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
    "flexVolume",
    "local",
)
_SOURCES = frozenset(SOURCES)
HOST_PATH_TYPES = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
]
_DOWNWARD = {"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def volumes(at: str, given: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, volume in enumerate(given):
        path, name = f"{at}[{i}]", volume.get("name", "")
        wrong = list(source(path, volume, "volume type"))
        yield from wrong
        bad_name = list(common.named(f"{path}.name", name, names.dns_label))
        yield from bad_name
        if not bad_name and name in seen:
            yield fields.duplicate(f"{path}.name", name)
        if not wrong and not bad_name:
            seen.add(name)


def source(path: str, holder: Object, what: str) -> Iterator[Cause]:
    """Exactly one source, and what it must say."""
    found = [name for name in holder if name in _SOURCES and holder[name] is not None]
    if len(found) > 1:
        found.sort(key=SOURCES.index)
    if not found:
        yield fields.required(path, f"must specify a {what}")
        return
    rule = _RULES.get(found[0])
    if rule is not None:
        yield from rule(f"{path}.{found[0]}", holder[found[0]])
    for name in found[1:]:
        yield fields.forbidden(f"{path}.{name}", f"may not specify more than 1 {what}")


def _host_path(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("path"):
        yield fields.required(f"{path}.path")
        return
    yield from common.no_back_steps(f"{path}.path", given["path"])
    yield from one_of(f"{path}.type", given.get("type"), HOST_PATH_TYPES)


def _secret(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("secretName"):
        yield fields.required(f"{path}.secretName")
    yield from _mode(f"{path}.defaultMode", given)
    yield from _items(f"{path}.items", given.get("items") or [])


def _config_map(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("name"):
        yield fields.required(f"{path}.name")
    yield from _mode(f"{path}.defaultMode", given)
    yield from _items(f"{path}.items", given.get("items") or [])


def _mode(path: str, given: Object) -> Iterable[Cause]:
    mode = given.get(path.rpartition(".")[2])
    return (fields.invalid(path, mode, _MODE),) if mode is not None and not 0 <= mode <= 0o777 else ()


def _items(at: str, items: list[Object]) -> Iterator[Cause]:
    for i, item in enumerate(items):
        path = f"{at}[{i}]"
        if not item.get("key"):
            yield fields.required(f"{path}.key")
        yield from _file(path, item)


def _file(path: str, item: Object) -> Iterator[Cause]:
    if not item.get("path"):
        yield fields.required(f"{path}.path")
    else:
        yield from common.relative_path(f"{path}.path", item["path"])
    yield from _mode(f"{path}.mode", item)


def _downward(path: str, given: Object) -> Iterator[Cause]:
    yield from _mode(f"{path}.defaultMode", given)
    for i, item in enumerate(given.get("items") or ()):
        at = f"{path}.items[{i}]"
        yield from _file(at, item)
        if item.get("fieldRef") is not None:
            if item.get("resourceFieldRef") is not None:
                yield fields.invalid(
                    path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
                )
            yield from field_ref(f"{at}.fieldRef", item["fieldRef"], _DOWNWARD)
        elif item.get("resourceFieldRef") is not None:
            yield from resource_ref(f"{at}.resourceFieldRef", item["resourceFieldRef"])
        else:
            yield fields.required(at, "one of fieldRef and resourceFieldRef is required")


def _projected(path: str, given: Object) -> Iterator[Cause]:
    yield from _mode(f"{path}.defaultMode", given)
    for i, item in enumerate(given.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        names_here = [name for name in item if item[name] is not None]
        for name in names_here[1:]:
            yield fields.forbidden(f"{at}.{name}", "may not specify more than 1 volume type")
        if not names_here:
            yield fields.required(at, "must specify a volume type")
            continue
        inner = item[names_here[0]]
        if names_here[0] == "serviceAccountToken":
            yield from _token(f"{at}.serviceAccountToken", inner)
        elif names_here[0] == "downwardAPI":
            yield from _downward(f"{at}.downwardAPI", inner)
        elif names_here[0] in ("secret", "configMap"):
            if not inner.get("name"):
                yield fields.required(f"{at}.{names_here[0]}.name")
            yield from _items(f"{at}.{names_here[0]}.items", inner.get("items") or [])


def _token(path: str, given: Object) -> Iterator[Cause]:
    seconds = given.get("expirationSeconds", 3600)
    if seconds < 600:
        yield fields.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if not given.get("path"):
        yield fields.required(f"{path}.path")
    else:
        yield from common.relative_path(f"{path}.path", given["path"])


def _nfs(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("server"):
        yield fields.required(f"{path}.server")
    yield from common.absolute_path(f"{path}.path", given.get("path"))


def _claim(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("claimName"):
        yield fields.required(f"{path}.claimName")


def _csi(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("driver"):
        yield fields.required(f"{path}.driver")
    if "volumeHandle" in given and not given["volumeHandle"]:
        yield fields.required(f"{path}.volumeHandle")


def _ephemeral(path: str, given: Object) -> Iterator[Cause]:
    from kcore_kinds.validation.storage import claim_spec

    template = given.get("volumeClaimTemplate")
    if template is None:
        yield fields.required(f"{path}.volumeClaimTemplate")
    else:
        yield from claim_spec(f"{path}.volumeClaimTemplate.spec", template.get("spec") or {})


def _local(path: str, given: Object) -> Iterator[Cause]:
    if not given.get("path"):
        yield fields.required(f"{path}.path")
    else:
        yield from common.no_back_steps(f"{path}.path", given["path"])


_RULES = {
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "local": _local,
}

"""The rules of CustomResourceDefinitions, as far as they need no compiler of expressions."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation.common import Object, immutable, one_of, problems

_APPROVED = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_PROTECTED = (".k8s.io", ".kubernetes.io")


def definition(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec, meta = obj["spec"], obj["metadata"]
    group, kinds = spec.get("group", ""), spec.get("names") or {}
    if meta.get("name") != f"{kinds.get('plural', '')}.{group}":
        yield fields.invalid("metadata.name", meta.get("name", ""), 'must be spec.names.plural+"."+spec.group')
    if ("." + group).endswith(_PROTECTED) and not (meta.get("annotations") or {}).get(_APPROVED):
        yield fields.required(
            f"metadata.annotations[{_APPROVED}]",
            f'protected groups must have approval annotation "{_APPROVED}", see '
            "https://github.com/kubernetes/enhancements/pull/1111",
        )
    if not group:
        yield fields.required("spec.group")
    else:
        yield from problems("spec.group", group, names.dns_subdomain(group))
        if "." not in group:
            yield fields.invalid("spec.group", group, "should be a domain with at least one dot")
    yield from one_of("spec.scope", spec.get("scope") or None, ["Cluster", "Namespaced"])
    if not spec.get("scope"):
        yield fields.required("spec.scope")
    for name in ("plural", "singular"):
        if kinds.get(name):
            yield from problems(f"spec.names.{name}", kinds[name], names.dns_1035_label(kinds[name]))
    for name in ("plural", "kind"):
        if not kinds.get(name):
            yield fields.required(f"spec.names.{name}")
    yield from _versions(spec.get("versions") or [])
    if old is not None:
        for name in ("scope", "group"):
            yield from immutable(f"spec.{name}", spec.get(name), old["spec"].get(name))


def _versions(versions: list[Object]) -> Iterator[Cause]:
    # errors of a single version's schema and columns stand where older servers kept them
    single = len(versions) == 1
    for i, version in enumerate(versions):
        name, path = version.get("name", ""), f"spec.versions[{i}]"
        yield from problems(f"{path}.name", name, names.dns_1035_label(name))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        at = "spec.validation.openAPIV3Schema" if single else f"{path}.schema.openAPIV3Schema"
        if schema is None:
            yield fields.required(f"{path}.schema.openAPIV3Schema")
        else:
            if not schema.get("type"):
                yield fields.required(f"{at}.type", "must not be empty at the root")
            elif schema["type"] != "object":
                yield fields.invalid(f"{at}.type", schema["type"], "must be object at the root")
            yield from _schema(at, schema)
        columns = "spec.additionalPrinterColumns" if single else f"{path}.additionalPrinterColumns"
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            yield from _column(f"{columns}[{j}]", column)
    stored = [v for v in versions if v.get("storage")]
    if len(stored) != 1:
        yield fields.invalid("spec.versions", versions, "must have exactly one version marked as storage version")


def _schema(path: str, schema: Object) -> Iterator[Cause]:
    for name, child in (schema.get("properties") or {}).items():
        yield from _schema(f"{path}.properties[{name}]", child)
    items = schema.get("items")
    if schema.get("x-kubernetes-list-type") == "map":
        if not schema.get("x-kubernetes-list-map-keys"):
            why = "must not be empty if x-kubernetes-list-type is map"
            yield fields.required(f"{path}.x-kubernetes-list-map-keys", why)
        if isinstance(items, dict) and items.get("type") != "object":
            why = "must be object if parent array's x-kubernetes-list-type is map"
            yield fields.invalid(f"{path}.items.type", items.get("type", ""), why)
    if isinstance(items, dict):
        yield from _schema(f"{path}.items", items)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        yield from _schema(f"{path}.additionalProperties", extra)
    for i, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        if not (rule.get("rule") or "").strip():
            yield fields.required(f"{path}.x-kubernetes-validations[{i}].rule", "rule is not specified")


def _column(path: str, column: Object) -> Iterator[Cause]:
    if not column.get("name"):
        yield fields.required(f"{path}.name")
    if column.get("type") not in _COLUMN_TYPES:
        why = f"must be one of {','.join(_COLUMN_TYPES)}"
        yield fields.invalid(f"{path}.type", column.get("type", ""), why)
    json_path = column.get("jsonPath", "")
    if not json_path:
        yield fields.required(f"{path}.JSONPath")
    elif not json_path.startswith("."):
        yield fields.invalid(f"{path}.JSONPath", json_path, "must be a simple json path starting with .")

"""The rules of CustomResourceDefinitions: names, versions, conversion, columns; what may never change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import definition_schemas
from kcore_kinds.validation.common import Object, immutable, one_of, problems

_APPROVED = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_PROTECTED = (".k8s.io", ".kubernetes.io")
_REVIEWS = ("v1", "v1beta1")
_MAX_WARNING = 256


def definition(obj: Object, old: Object | None) -> Iterator[Cause]:
    """Every mistake. What is wrong in the old definition already may stay wrong in the same way."""
    found = list(_definition(obj, old))
    if found and old is not None:
        known = {(cause.field, cause.message) for cause in _schemas(old["spec"].get("versions") or [])}
        found = [cause for cause in found if (cause.field, cause.message) not in known]
    yield from found


def definition_status(obj: Object, old: Object) -> Iterator[Cause]:
    yield from _names("status.acceptedNames", (obj.get("status") or {}).get("acceptedNames") or {})
    yield from _stored(obj)


def _definition(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec, meta = obj["spec"], obj["metadata"]
    group, kinds = spec.get("group", ""), spec.get("names") or {}
    if meta.get("name") != f"{kinds.get('plural', '')}.{group}":
        yield fields.invalid("metadata.name", meta.get("name", ""), 'must be spec.names.plural+"."+spec.group')
    if ("." + group).endswith(_PROTECTED):
        yield from _approval((meta.get("annotations") or {}).get(_APPROVED, ""), old)
    if not group:
        yield fields.required("spec.group")
    else:
        yield from problems("spec.group", group, names.dns_subdomain(group))
        if "." not in group:
            yield fields.invalid("spec.group", group, "should be a domain with at least one dot")
    yield from one_of("spec.scope", spec.get("scope") or None, ["Cluster", "Namespaced"])
    if not spec.get("scope"):
        yield fields.required("spec.scope")
    yield from _versions(spec.get("versions") or [], _versions_of(old))
    for name in ("plural", "singular", "kind", "listKind"):
        if not kinds.get(name) and (name in ("plural", "kind") or kinds.get("kind")):
            yield fields.required(f"spec.names.{name}")
    yield from _names("spec.names", kinds)
    yield from _conversion(spec.get("conversion") or {})
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield fields.invalid("spec.preserveUnknownFields", True, why)
    if old is not None:
        yield from _changes(obj, old)
        yield from _stored(obj)


def _versions_of(old: Object | None) -> list[Object] | None:
    return None if old is None else old["spec"].get("versions") or []


def _approval(note: str, old: Object | None) -> Iterator[Cause]:
    """A definition in one of Kubernetes' own groups says who approved it."""
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    where = f"metadata.annotations[{_APPROVED}]"
    must = f'protected groups must have approval annotation "{_APPROVED}"'
    if old is not None and (old["metadata"].get("annotations") or {}).get(_APPROVED, "") == note:
        return
    if not note:
        yield fields.required(where, f"{must}, {see}")
    elif not note.startswith("unapproved") and "://" not in note:
        why = f'{must} with either a URL or a reason starting with "unapproved", {see}'
        yield fields.invalid(where, note, why)


def _names(path: str, kinds: Object) -> Iterator[Cause]:
    """What the names look like; those that are missing are another rule's."""
    for name in ("plural", "singular"):
        if kinds.get(name):
            yield from problems(f"{path}.{name}", kinds[name], names.dns_1035_label(kinds[name]))
    for name in ("kind", "listKind"):
        wrong = names.dns_1035_label(kinds[name].lower()) if kinds.get(name) else []
        if wrong:
            why = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
            yield fields.invalid(f"{path}.{name}", kinds[name], why)
    for i, short in enumerate(kinds.get("shortNames") or ()):
        yield from problems(f"{path}.shortNames[{i}]", short, names.dns_1035_label(short))
    if kinds.get("kind") and kinds["kind"] == kinds.get("listKind"):
        yield fields.invalid(f"{path}.listKind", kinds["listKind"], "kind and listKind may not be the same")
    for i, category in enumerate(kinds.get("categories") or ()):
        yield from problems(f"{path}.categories[{i}]", category, names.dns_1035_label(category))


# --- versions ------------------------------------------------------------------------------------


def _versions(versions: list[Object], old: list[Object] | None) -> Iterator[Cause]:
    seen: set[str] = set()
    twice = False
    for i, version in enumerate(versions):
        name, path = version.get("name", ""), f"spec.versions[{i}]"
        twice = twice or name in seen
        seen.add(name)
        yield from problems(f"{path}.name", name, names.dns_1035_label(name))
        yield from _deprecation(path, version)
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield fields.required(f"{path}.schema.openAPIV3Schema")
    if twice:
        yield fields.invalid("spec.versions", versions, "must contain unique version names")
    if sum(1 for v in versions if v.get("storage")) != 1:
        yield fields.invalid("spec.versions", versions, "must have exactly one version marked as storage version")
    if versions != old:  # the costly part, which was right when it was stored
        yield from _schemas(versions)


def _schemas(versions: list[Object]) -> Iterator[Cause]:
    # errors of a single version's schema and columns stand where older servers kept them
    single = len(versions) == 1
    for i, version in enumerate(versions):
        path = f"spec.versions[{i}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        place = "spec" if single else path
        if schema is not None:
            at = "spec.validation.openAPIV3Schema" if single else f"{path}.schema.openAPIV3Schema"
            status = (version.get("subresources") or {}).get("status") is not None
            wrong = list(definition_schemas.schema(at, schema, status=status))
            if not wrong:
                from kcore_kinds.validation import definition_values

                wrong = list(definition_values.schema(at, schema))
            yield from wrong
            if not wrong:
                from kcore_kinds.validation import definition_values

                selectable = version.get("selectableFields") or []
                yield from definition_values.selectable(f"{place}.selectableFields", selectable, schema)
        yield from _subresources(f"{place}.subresources", version.get("subresources") or {})
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            yield from _column(f"{place}.additionalPrinterColumns[{j}]", column)


def _deprecation(path: str, version: Object) -> Iterator[Cause]:
    text = version.get("deprecationWarning")
    if text is None:
        return
    where = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        yield fields.invalid(where, text, "can only be set for deprecated versions")
    if not text:
        yield fields.invalid(where, text, "must not be empty")
    if len(text) > _MAX_WARNING:
        yield fields.invalid(where, text, f"must be <= {_MAX_WARNING} characters, got {len(text)}")
    if not text.isprintable():
        yield fields.invalid(where, text, "must only contain printable UTF-8 characters")


def _column(path: str, column: Object) -> Iterator[Cause]:
    if not column.get("name"):
        yield fields.required(f"{path}.name")
    if not column.get("type"):
        yield fields.required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
    elif column["type"] not in _COLUMN_TYPES:
        yield fields.invalid(f"{path}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}")
    if (column.get("format") or "") not in _COLUMN_FORMATS:
        why = f"must be one of {','.join(f for f in _COLUMN_FORMATS if f)}"
        yield fields.invalid(f"{path}.format", column["format"], why)
    yield from _simple_path(f"{path}.JSONPath", column.get("jsonPath", ""))


def _simple_path(path: str, given: str) -> Iterable[Cause]:
    if not given:
        return (fields.required(path),)
    if not given.startswith("."):
        return (fields.invalid(path, given, "must be a simple json path starting with ."),)
    return ()


def _subresources(path: str, given: Object) -> Iterator[Cause]:
    scale = given.get("scale")
    if scale is None:
        return
    for member, root, needed in (
        ("specReplicasPath", ".spec", True),
        ("statusReplicasPath", ".status", True),
        ("labelSelectorPath", "", False),
    ):
        where, value = f"{path}.scale.{member}", scale.get(member) or ""
        if not value and not needed:
            continue
        wrong = list(_simple_path(where, value))
        yield from wrong
        if wrong:
            continue
        roots = [root] if root else [".spec", ".status"]
        if not any(value.startswith(f"{r}.") for r in roots):
            why = f"should be a json path under {' or '.join(roots)}"
            yield fields.invalid(where, value, why)


def _conversion(given: Object) -> Iterator[Cause]:
    strategy = given.get("strategy") or ""
    if not strategy:
        yield fields.required("spec.conversion.strategy")
    else:
        yield from one_of("spec.conversion.strategy", strategy, ["None", "Webhook"])
    webhook = given.get("webhook")
    if strategy != "Webhook":
        if webhook is not None:
            why = "should not be set when strategy is not set to Webhook"
            yield fields.forbidden("spec.conversion.webhookClientConfig", why)
        return
    client = (webhook or {}).get("clientConfig")
    where = "spec.conversion.webhookClientConfig"
    if client is None:
        yield fields.required(where, "required when strategy is set to Webhook")
    else:
        yield from _client(where, client)
    reviews = (webhook or {}).get("conversionReviewVersions") or []
    where = "spec.conversion.conversionReviewVersions"
    if not reviews:
        yield fields.required(where)
        return
    for i, review in enumerate(reviews):
        if review in reviews[:i]:
            yield fields.invalid(f"{where}[{i}]", review, "duplicate version")
        yield from problems(f"{where}[{i}]", review, names.dns_1035_label(review))
    if not set(reviews) & set(_REVIEWS):
        yield fields.invalid(where, reviews, f"must include at least one of {', '.join(_REVIEWS)}")


def _client(path: str, client: Object) -> Iterator[Cause]:
    service, url = client.get("service"), client.get("url")
    if (service is None) == (url is None):
        yield fields.required(path, "exactly one of url or service is required")
        return
    if service is not None:
        for member in ("name", "namespace"):
            if not service.get(member):
                yield fields.required(f"{path}.service.{member}", f"service {member} is required")
        port = service.get("port")
        if port is not None and not 1 <= port <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            yield fields.invalid(f"{path}.service.port", port, why)
        if service.get("path") and not service["path"].startswith("/"):
            yield fields.invalid(f"{path}.service.path", service["path"], "must start with a '/'")
    elif not str(url).startswith("https://"):
        why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        yield fields.invalid(f"{path}.url", url, why)


# --- changes -------------------------------------------------------------------------------------


def _changes(obj: Object, old: Object) -> Iterator[Cause]:
    spec, was = obj["spec"], old["spec"]
    conditions = (old.get("status") or {}).get("conditions") or ()
    if any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        yield from immutable("spec.scope", spec.get("scope"), was.get("scope"))
        yield from immutable("spec.names.kind", spec["names"].get("kind"), was["names"].get("kind"))
    yield from immutable("spec.group", spec.get("group"), was.get("group"))
    yield from immutable("spec.names.plural", spec["names"].get("plural"), was["names"].get("plural"))


def _stored(obj: Object) -> Iterator[Cause]:
    """Objects may lie in the store in these versions: none of them may go."""
    versions = obj["spec"].get("versions") or []
    stored = (obj.get("status") or {}).get("storedVersions") or []
    for i, name in enumerate(stored):
        if not any(v.get("name") == name for v in versions):
            yield fields.invalid(f"status.storedVersions[{i}]", name, "must appear in spec.versions")
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            why = f"must have the storage version {version.get('name')}"
            yield fields.invalid("status.storedVersions", stored, why)

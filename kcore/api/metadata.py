"""The rules of ``metadata`` that every kind shares (apimachinery, api/validation)."""

from collections.abc import Callable
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import Object

_ANNOTATIONS_SIZE = 256 * 1024  # bytes of all keys and values together
_FINALIZERS = frozenset(("orphan", "foregroundDeletion", "kubernetes"))
_EVENT = ("v1", "Event")
_OWNER_ORDER = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")  # as Go writes them


def metadata(
    obj: Object,
    namespaced: bool,
    name_problems: Callable[..., list[str]] = names.dns_subdomain,
    path: str = "metadata",
) -> list[Cause]:
    """Every error in an object's metadata.

    `name_problems(name, prefix=bool)` is the kind's rule for names (`Strategy.validate_name`); generateName is checked
    by it as a prefix.
    """
    meta = obj.get("metadata") or {}
    found: list[Cause] = []
    generate = meta.get("generateName")
    if generate:
        found += [fields.invalid(f"{path}.generateName", generate, p) for p in name_problems(generate, prefix=True)]
    name = meta.get("name")
    if not name:
        found.append(fields.required(f"{path}.name", "name or generateName is required"))
    else:
        found += [fields.invalid(f"{path}.name", name, p) for p in name_problems(name, prefix=False)]
    found += _namespace(meta.get("namespace"), namespaced, f"{path}.namespace")
    if meta.get("generation", 0) < 0:
        found.append(fields.invalid(f"{path}.generation", meta["generation"], "must be greater than or equal to 0"))
    if meta.get("labels"):
        found += labels(meta["labels"], f"{path}.labels")
    if meta.get("annotations"):
        found += annotations(meta["annotations"], f"{path}.annotations")
    if meta.get("ownerReferences"):
        found += owner_references(meta["ownerReferences"], f"{path}.ownerReferences")
    if meta.get("finalizers"):
        found += finalizers(meta["finalizers"], f"{path}.finalizers")
    if meta.get("managedFields"):
        found += _managed_fields(meta["managedFields"], f"{path}.managedFields")
    return found


def _namespace(namespace: Any, namespaced: bool, path: str) -> list[Cause]:
    if not namespaced:
        return [fields.forbidden(path, "not allowed on this type")] if namespace else []
    if not namespace:
        return [fields.required(path)]
    return [fields.invalid(path, namespace, p) for p in names.dns_label(namespace)]


def labels(given: dict[str, str], path: str) -> list[Cause]:
    """Every error in a map of labels, wherever it stands. Keys in order, as all errors of maps."""
    found: list[Cause] = []
    for key in sorted(given):
        found += [fields.invalid(path, key, p) for p in names.qualified_name(key)]
        found += [fields.invalid(path, given[key], p) for p in names.label_value(given[key])]
    return found


def annotations(given: dict[str, str], path: str) -> list[Cause]:
    """Every error in a map of annotations: keys as of labels, whatever the case; values only by their size."""
    found: list[Cause] = []
    size = 0
    for key in sorted(given):
        found += [fields.invalid(path, key, p) for p in names.qualified_name(key.lower())]
        size += len(key.encode()) + len(given[key].encode())
    if size > _ANNOTATIONS_SIZE:
        found.append(fields.too_long(path, _ANNOTATIONS_SIZE))
    return found


def owner_references(refs: list[dict[str, Any]], path: str) -> list[Cause]:
    found: list[Cause] = []
    controller: dict[str, Any] | None = None
    for ref in refs:
        found += _owner(ref, path)
        if not ref.get("controller"):
            continue
        if controller is not None:
            first, second = (f"{r.get('kind', '')}/{r.get('name', '')}" for r in (controller, ref))
            why = (
                "Only one reference can have Controller set to true. "
                f'Found "true" in references for {first} and {second}'
            )
            shown = [{k: r[k] for k in _OWNER_ORDER if k in r} for r in refs]
            found.append(fields.invalid(path, shown, why))
        else:
            controller = ref
    return found


def _owner(ref: dict[str, Any], path: str) -> list[Cause]:
    """Errors of one reference. Upstream names the list, without an index."""
    found: list[Cause] = []
    version = ref.get("apiVersion") or ""
    if not version.rpartition("/")[2]:
        found.append(fields.invalid(f"{path}.apiVersion", version, "version must not be empty"))
    for member in ("kind", "name", "uid"):
        if not ref.get(member):
            found.append(fields.invalid(f"{path}.{member}", ref.get(member) or "", "must not be empty"))
    if (version, ref.get("kind")) == _EVENT:
        found.append(fields.invalid(path, "/v1, Kind=Event", "/v1, Kind=Event is disallowed from being an owner"))
    return found


def finalizers(given: list[str], path: str) -> list[Cause]:
    found: list[Cause] = []
    for i, name in enumerate(given):
        problems = names.qualified_name(name)
        found += [fields.invalid(f"{path}[{i}]", name, p) for p in problems]
        if not problems and "/" not in name and name not in _FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(fields.invalid(f"{path}[{i}]", name, why))
    if "orphan" in given and "foregroundDeletion" in given:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(fields.invalid(path, given, why))
    return found


def _managed_fields(entries: list[dict[str, Any]], path: str) -> list[Cause]:
    found: list[Cause] = []
    for i, entry in enumerate(entries):
        if entry.get("operation") not in ("Apply", "Update"):
            given = entry.get("operation", "")
            found.append(fields.invalid(f"{path}[{i}].operation", given, "must be `Apply` or `Update`"))
        if entry.get("fieldsType", "") != "FieldsV1":
            given = entry.get("fieldsType", "")
            found.append(fields.invalid(f"{path}[{i}].fieldsType", given, "must be `FieldsV1`"))
        if len(entry.get("manager", "")) > 128:
            found.append(fields.too_long(f"{path}[{i}].manager", 128))
    return found


# --- updates -------------------------------------------------------------------------------------

_IMMUTABLE = "field is immutable"


def metadata_update(obj: Object, old: Object) -> list[Cause]:
    """Every change of metadata that is not allowed. Some members are quietly set back by the machinery before this:
    creationTimestamp, generation, selfLink; a missing uid, deletionTimestamp or grace period takes the old value.
    """
    new, was = obj.get("metadata") or {}, old.get("metadata") or {}
    found: list[Cause] = []
    if new.get("generation", 0) < was.get("generation", 0):
        found.append(fields.invalid("metadata.generation", new.get("generation", 0), "must not be decremented"))
    for member in ("name", "namespace", "uid", "creationTimestamp"):
        if new.get(member) != was.get(member):
            found.append(fields.invalid(f"metadata.{member}", new.get(member) or "", _IMMUTABLE))
    if "deletionTimestamp" in was:
        added = [f for f in new.get("finalizers") or () if f not in (was.get("finalizers") or ())]
        if added:
            shown = "[]string{" + ", ".join(fields.show(f) for f in added) + "}"
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
            found.append(fields.forbidden("metadata.finalizers", why))
    for member in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(member) != was.get(member):
            found.append(fields.invalid(f"metadata.{member}", new.get(member), _IMMUTABLE))
    if new.get("labels") and new["labels"] != was.get("labels"):  # what has not changed has been found right
        found += labels(new["labels"], "metadata.labels")
    if new.get("annotations") and new["annotations"] != was.get("annotations"):
        found += annotations(new["annotations"], "metadata.annotations")
    if new.get("ownerReferences"):
        found += owner_references(new["ownerReferences"], "metadata.ownerReferences")
    if not new.get("resourceVersion"):
        found.append(fields.invalid("metadata.resourceVersion", 0, "must be specified for an update"))
    return found

"""OwnerReferencesPermissionEnforcement: who makes an object go away with another one must be allowed to delete it."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore_admission.base import Plugin, forbidden


class OwnerReferencesPermissionEnforcement(Plugin):
    """https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/"""

    name = "OwnerReferencesPermissionEnforcement"

    steady = False

    def handles(self, request: AdmissionRequest) -> bool:
        exempt = request.kind.resource == "pods" and request.subresource == "status"  # kubelets write these
        return request.operation in ("CREATE", "UPDATE") and not exempt and bool(request.obj)

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = _owners(request.obj), _owners(request.old)
        if new == old:
            return
        if request.operation != "CREATE":
            kind, meta = request.kind, (request.obj or {}).get("metadata") or {}
            where = (request.namespace, request.name or meta.get("name", ""))
            allowed = await self.may(request.user, "delete", (kind.group, kind.version, kind.plural), *where)
            if not allowed.allowed:
                why = f"cannot set an ownerRef on a resource you can't delete: {allowed.reason}, <nil>"
                raise forbidden(request, why)
        for owner in _newly_blocking(new, old):
            await self._check_blocking(request, owner)

    async def _check_blocking(self, request: AdmissionRequest, owner: Object) -> None:
        version, name = owner.get("apiVersion") or "", owner.get("kind") or ""
        group, _, number = version.rpartition("/")
        kind = self.context.part("api").server.kinds.by_kind(group, number, name)
        if kind is None:
            why = f'no matches for kind "{name}" in version "{version}"'
            raise forbidden(
                request,
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f"{version} Kind {name}: {why}",
            )
        where = (request.namespace if kind.namespaced else "", owner.get("name") or "")
        what = (kind.group, kind.version, kind.plural)
        allowed = await self.may(request.user, "update", what, *where, subresource="finalizers")
        if not allowed.allowed:
            raise forbidden(
                request,
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers "
                f"on: {allowed.reason}, <nil>",
            )


def _owners(obj: Object | None) -> list[Object]:
    return ((obj or {}).get("metadata") or {}).get("ownerReferences") or []


def _newly_blocking(new: list[Object], old: list[Object]) -> list[Object]:
    """Owners that from now on wait for the object: not those that did so before."""
    held = {o.get("uid") for o in old if o.get("blockOwnerDeletion")}
    return [o for o in new if o.get("blockOwnerDeletion") and o.get("uid") not in held]

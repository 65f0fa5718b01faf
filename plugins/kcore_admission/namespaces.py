"""NamespaceLifecycle: the rules of being in a namespace."""

from __future__ import annotations

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.objects.resources import NAMESPACES
from kcore_admission.base import Plugin, forbidden

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"
    looks_at = (NAMESPACES,)

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation == "CREATE":
            return request.kind.namespaced and request.kind.kind != "LocalSubjectAccessReview"
        return request.operation == "DELETE" and request.kind.plural == "namespaces" and not request.kind.group

    async def admit(self, request: AdmissionRequest) -> None:
        """A mutating step only so that a missing namespace is told before any other mistake."""
        if request.operation == "DELETE":
            if request.name in IMMORTAL:
                raise forbidden(request, "this namespace may not be deleted")
            return
        namespace = await self.seen["namespaces"].get(request.namespace)
        if namespace is None:
            raise errors.not_found("namespaces", request.namespace)
        if request.subresource:
            return  # about something that is there already: an eviction, a binding
        if namespace.get("status", {}).get("phase") == "Terminating" or namespace["metadata"].get("deletionTimestamp"):
            name = request.namespace
            raise forbidden(
                request,
                f"unable to create new content in namespace {name} because it is being terminated",
                causes=[
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {name} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )

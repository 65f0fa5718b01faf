"""DenyServiceExternalIPs: nobody claims addresses that are not the cluster's to give."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore_admission.base import Plugin, forbidden


class DenyServiceExternalIPs(Plugin):
    name = "DenyServiceExternalIPs"

    def handles(self, request: AdmissionRequest) -> bool:
        written = request.operation in ("CREATE", "UPDATE") and not request.subresource
        return written and request.kind.resource == "services"

    async def validate(self, request: AdmissionRequest) -> None:
        """What a service has already it may keep."""
        assert request.obj is not None
        had = ((request.old or {}).get("spec") or {}).get("externalIPs") or ()
        if set(request.obj["spec"].get("externalIPs") or ()) - set(had):
            raise forbidden(request, "Use of external IPs is denied by admission control.")

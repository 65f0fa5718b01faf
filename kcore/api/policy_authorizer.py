"""``authorizer`` in the expressions of admission: may the one who asks, or a service account, do this?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore import errors
from kcore.api.auth import Attributes, User
from kcore.api.matching import attribute_namespace
from kcore.cel.libraries.authorization import Authorizer, Check, Decision, ResourceCheck
from kcore.cel.types import Type, opaque

if TYPE_CHECKING:
    from kcore.api.admission import AdmissionRequest
    from kcore.api.server import ApiServer


def declared() -> dict[str, Type]:
    """The variables, by name."""
    return {
        "authorizer": opaque(Authorizer.type_name),
        "authorizer.requestResource": opaque(ResourceCheck.type_name),
    }


class Checks:
    """The values of the variables for one request. Decisions are made once."""

    def __init__(self, server: ApiServer, request: AdmissionRequest) -> None:
        self._server, self._request = server, request
        authorizer = Authorizer(self._decide)
        known = request.notes.setdefault("authorizer", authorizer.answers)
        authorizer.answers = known
        kind = request.kind
        own = Check(
            group=kind.group,
            resource=kind.plural,
            subresource=request.subresource,
            namespace=attribute_namespace(request),
            name=request.name,
        )
        self.values: dict[str, Any] = {
            "authorizer": authorizer,
            "authorizer.requestResource": authorizer.resource(own),
        }

    async def _decide(self, check: Check) -> Decision:
        user = self._request.user
        if check.service_account is not None:
            namespace, name = check.service_account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            user = User(f"system:serviceaccount:{namespace}:{name}", groups)
        if check.path:
            path = check.path if check.path.startswith("/") else "/" + check.path
            wanted = Attributes(user, check.verb, path=path)
        else:
            wanted = Attributes(
                user,
                check.verb,
                check.resource,
                check.subresource,
                check.group,
                "*",
                check.namespace,
                check.name,
                label_selector=check.label_selector,
                field_selector=check.field_selector,
            )
        reasons: list[str] = []
        try:
            for authorizer in self._server.authorizers:
                decision = await authorizer.authorize(wanted)
                if decision.reason:
                    reasons.append(decision.reason)
                if decision.allowed is not None:
                    return Decision(decision.allowed, decision.reason)
        except errors.ApiError as error:
            return Decision(False, "", error.message)
        return Decision(False, "\n".join(reasons))

"""The API's questions about identity: reviews of tokens and of access, token requests, and the issuer's public
keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec

from kcore import clock, errors
from kcore.api import fields
from kcore.api.auth import Attributes, Decision, User
from kcore.api.routes import Call, Routes
from kcore.http.messages import AnyResponse, Request, Response
from kcore.objects import Object
from kcore.objects.resources import SERVICEACCOUNTS
from kcore.registry import Context, NoConfig
from kcore_auth.rbac import find_rbac
from kcore_auth.serviceaccounts import NotForUs, ServiceAccountTokens, claims_for

_AUTHN, _AUTHZ = "authentication.k8s.io", "authorization.k8s.io"
_HOUR = 3600
_MIN_SECONDS, _MAX_SECONDS = 600, 1 << 32


class Reviews:
    """The handlers. `server` is the API server: its authenticators and authorizers answer the questions."""

    def __init__(self, server: Any):
        self._server = server

    def routes(self) -> Routes:
        return Routes(
            {
                (_AUTHN, "tokenreviews", ""): self.token_review,
                (_AUTHN, "selfsubjectreviews", ""): self.self_review,
                (_AUTHZ, "subjectaccessreviews", ""): self.access_review,
                (_AUTHZ, "localsubjectaccessreviews", ""): self.access_review,
                (_AUTHZ, "selfsubjectaccessreviews", ""): self.self_access_review,
                (_AUTHZ, "selfsubjectrulesreviews", ""): self.rules_review,
                ("", "serviceaccounts", "token"): self.token_request,
            },
            {
                "/openid/v1/jwks": self.jwks,
                "/.well-known/openid-configuration": self.openid,
            },
        )

    # --- who ---

    async def token_review(self, call: Call) -> Object:
        body = _body(call)
        spec = body.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise errors.BadRequest("token is required for TokenReview in authentication")
        body["status"] = await self._review(token, spec.get("audiences") or [])
        return _bare(body)

    async def _review(self, token: str, audiences: list[str]) -> Object:
        accounts = self._accounts()
        ours = accounts.issuer.audiences if accounts is not None else []
        if accounts is not None and token.count(".") == 2:
            try:
                found = await accounts.check(token, audiences or ours)
            except NotForUs as error:
                wrong = " ".join(fields.show(a) for a in error.audiences)
                asked = " ".join(fields.show(a) for a in audiences or ours)
                why = f"token audiences [{wrong}] is invalid for the target audiences [{asked}]"
                return {"error": f"[invalid bearer token, {why}]", "user": {}}
            except errors.Unauthorized:
                return {"error": "invalid bearer token", "user": {}}
            if found is not None:
                return {"audiences": found[1], "authenticated": True, "user": _info(_known(found[0]))}
        request = Request("GET", "/", "", {"authorization": f"Bearer {token}"})
        for authenticator in self._server.authenticators:
            try:
                check = getattr(authenticator, "check", None)
                if check is not None and authenticator is not accounts:  # one that knows of audiences
                    answered = await check(token, audiences or ours)
                    if answered is None:
                        continue
                    return {"audiences": answered[1], "authenticated": True, "user": _info(_known(answered[0]))}
                user = await authenticator.authenticate(request)
            except errors.Unauthorized:
                continue
            if user is not None:
                fitting = [a for a in audiences if a in ours] if audiences else ours
                if audiences and not fitting:
                    break
                return {"audiences": fitting, "authenticated": True, "user": _info(_known(user))}
        return {"error": "invalid bearer token", "user": {}}

    async def self_review(self, call: Call) -> Object:
        body = _body(call)
        body["metadata"] = {"creationTimestamp": clock.timestamp()}
        body["status"] = {"userInfo": _info(call.user)}
        return body

    # --- may they ---

    async def access_review(self, call: Call) -> Object:
        body = _body(call)
        spec = body.get("spec") or {}
        causes = _attribute_causes(spec)
        if not spec.get("user") and not spec.get("groups"):
            causes.append(fields.invalid("spec.user", "", "at least one of user or group must be specified"))
        if call.namespace and (spec.get("resourceAttributes") or {}).get("namespace") != call.namespace:
            why = "must match metadata.namespace"
            causes.append(
                fields.invalid(
                    "spec.resourceAttributes.namespace",
                    (spec.get("resourceAttributes") or {}).get("namespace", ""),
                    why,
                )
            )
        if causes:
            raise _invalid(causes)
        user = User(
            spec.get("user", ""),
            tuple(spec.get("groups") or ()),
            spec.get("uid", ""),
            spec.get("extra") or {},
        )
        body["status"] = await self._decide(user, spec)
        return _bare(body)

    async def self_access_review(self, call: Call) -> Object:
        body = _body(call)
        spec = body.get("spec") or {}
        causes = _attribute_causes(spec)
        if causes:
            raise _invalid(causes)
        body["status"] = await self._decide(call.user, spec)
        return _bare(body)

    async def _decide(self, user: User, spec: Object) -> Object:
        about: Object | None = spec.get("resourceAttributes")
        path: Object = spec.get("nonResourceAttributes") or {}
        if about is not None:
            wanted = Attributes(
                user,
                about.get("verb", ""),
                about.get("resource", ""),
                about.get("subresource", ""),
                about.get("group", ""),
                about.get("version", ""),
                about.get("namespace", ""),
                about.get("name", ""),
                label_selector=_label_selector(about.get("labelSelector") or {}),
                field_selector=_field_selector(about.get("fieldSelector") or {}),
            )
        else:
            wanted = Attributes(user, path.get("verb", ""), path=path.get("path", ""))
        decision = await self._ask(wanted)
        status: Object = {"allowed": decision.allowed is True}
        if decision.allowed is False:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        return status

    async def _ask(self, wanted: Attributes) -> Decision:
        reason = ""
        for authorizer in self._server.authorizers:
            decision: Decision = await authorizer.authorize(wanted)
            if decision.allowed is not None:
                return decision
            reason = reason or decision.reason
        return Decision(None, reason)

    async def rules_review(self, call: Call) -> Object:
        body = _body(call)
        namespace = (body.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        resources: list[Object] = []
        paths: list[Object] = []
        rbac = find_rbac(self._server.authorizers)
        for rule, _ in rbac.index.grants(call.user, namespace) if rbac is not None else ():
            (paths if rule.paths else resources).append(rule.source)
        body["spec"] = {}
        body["status"] = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": rbac is None}
        return _bare(body)

    # --- tokens of service accounts ---

    def _accounts(self) -> ServiceAccountTokens | None:
        return next((a for a in self._server.authenticators if isinstance(a, ServiceAccountTokens)), None)

    async def token_request(self, call: Call) -> Object:
        accounts = self._accounts()
        if accounts is None:
            raise errors.ServiceUnavailable("this cluster does not issue tokens of service accounts")
        body = _body(call)
        account = await call.client.get(SERVICEACCOUNTS, call.name, call.namespace)
        spec = body.get("spec") or {}
        spec["audiences"] = spec.get("audiences") or list(accounts.issuer.audiences)
        spec.setdefault("boundObjectRef", None)
        seconds = spec["expirationSeconds"] = spec.get("expirationSeconds") or _HOUR
        if seconds < _MIN_SECONDS:
            cause = fields.invalid(
                "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
            raise errors.invalid("TokenRequest", "", [cause], _AUTHN)
        if seconds > _MAX_SECONDS:
            cause = fields.invalid(
                "spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
            raise errors.invalid("TokenRequest", "", [cause], _AUTHN)
        claims = await claims_for(accounts.issuer, call.client, account, spec)
        token = "" if call.dry_run else await accounts.issuer.sign(claims)
        meta = account["metadata"]
        return {
            "apiVersion": f"{_AUTHN}/v1",
            "kind": "TokenRequest",
            "metadata": {k: meta[k] for k in ("name", "namespace", "uid", "creationTimestamp") if k in meta},
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": clock.timestamp(claims["exp"])},
        }

    async def jwks(self, call: Call) -> AnyResponse:
        accounts = self._accounts()
        if accounts is None:
            raise errors.NotFound("the server could not find the requested resource")
        return Response(200, msgspec.json.encode(await accounts.issuer.jwks()), "application/jwk-set+json")

    async def openid(self, call: Call) -> Object:
        accounts = self._accounts()
        if accounts is None:
            raise errors.NotFound("the server could not find the requested resource")
        host = call.request.headers.get("host", "")
        return {
            "issuer": accounts.issuer.url,
            "jwks_uri": f"https://{host}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


def _body(call: Call) -> Object:
    if call.body is None:
        raise errors.BadRequest("a body is needed")
    return call.body


def _bare(review: Object) -> Object:
    """A review is stored nowhere: what the machinery put into its metadata goes again."""
    meta = review.get("metadata") or {}
    review["metadata"] = {k: meta[k] for k in ("name", "namespace", "labels", "annotations") if meta.get(k)}
    return review


def _known(user: User) -> User:
    group = "system:authenticated"
    return user if group in user.groups else attrs.evolve(user, groups=(*user.groups, group))


def _info(user: User) -> Object:
    """authentication/v1 UserInfo."""
    out: Object = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = user.extra
    return out


def _attribute_causes(spec: Object) -> list[errors.Cause]:
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        shown = {"Path": path.get("path", ""), "Verb": path.get("verb", "")}  # as Go prints the structure
        return [fields.invalid("spec.nonResourceAttributes", shown, why)]
    if about is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [fields.invalid("spec.resourceAttributes", None, why)]
    return []


def _invalid(causes: list[errors.Cause]) -> errors.Invalid:
    """Upstream does not say which kind of review it was."""
    error = errors.invalid("", "", causes, _AUTHZ)
    error.details = {"group": _AUTHZ, "causes": [c.to_json() for c in causes]}
    return error


def _field_selector(selector: Object) -> str:
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    terms = [
        f"{r['key']}={r['values'][0]}"
        for r in selector.get("requirements") or ()
        if r.get("operator") == "In" and len(r.get("values") or ()) == 1
    ]
    return ",".join(terms)


def _label_selector(selector: Object) -> str:
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    terms = []
    for one in selector.get("requirements") or ():
        key, operator, values = one.get("key", ""), one.get("operator"), ",".join(one.get("values") or ())
        if operator in ("In", "NotIn"):
            terms.append(f"{key} {operator.lower()} ({values})")
        elif operator in ("Exists", "DoesNotExist"):
            terms.append(key if operator == "Exists" else f"!{key}")
    return ",".join(terms)


@asynccontextmanager
async def open_reviews(context: Context, config: NoConfig) -> AsyncIterator[Routes]:
    yield Reviews(context.part("api").server).routes()

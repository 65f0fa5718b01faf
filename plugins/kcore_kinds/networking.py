"""networking.k8s.io: ingresses, network policies and service addresses."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing
from kcore_kinds.validation.addresses import address_name


class IngressClassStrategy(Builtin):
    def default(self, obj: Object) -> None:
        if obj["spec"].get("parameters"):
            missing(obj["spec"]["parameters"], {"scope": "Cluster"})


class NetworkPolicyStrategy(Builtin):
    def default(self, obj: Object) -> None:
        """A policy is about ingress always, and about egress when it has rules for it."""
        spec = obj["spec"]
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
            for port in rule.get("ports") or ():
                missing(port, {"protocol": "TCP"})


group = Group("networking.k8s.io")
group.serve(
    "IngressClass",
    "ingressclasses",
    strategy=IngressClassStrategy(),
    generation=True,
    hash="l/iqIbDgFyQ=",
    namespaced=False,
)
group.serve("Ingress", "ingresses", generation=True, hash="39NQlfNR+bo=", short="ing", status=True)
group.serve("IPAddress", "ipaddresses", names=address_name, hash="3f/plJFChNE=", namespaced=False, short="ip")
group.serve(
    "NetworkPolicy",
    "networkpolicies",
    strategy=NetworkPolicyStrategy(),
    generation=True,
    hash="YpfwF18m1G8=",
    short="netpol",
)
group.serve("ServiceCIDR", "servicecidrs", hash="gNLvruQhW2g=", namespaced=False, status=True)

KINDS = group.kinds

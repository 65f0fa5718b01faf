"""networking.k8s.io: ingresses, network policies and service addresses."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("networking.k8s.io")
group.serve("IngressClass", "ingressclasses", generation=True, hash="l/iqIbDgFyQ=", namespaced=False)
group.serve("Ingress", "ingresses", generation=True, hash="39NQlfNR+bo=", short="ing", status=True)
group.serve("IPAddress", "ipaddresses", hash="3f/plJFChNE=", namespaced=False, short="ip")
group.serve("NetworkPolicy", "networkpolicies", generation=True, hash="YpfwF18m1G8=", short="netpol")
group.serve("ServiceCIDR", "servicecidrs", hash="gNLvruQhW2g=", namespaced=False, status=True)

KINDS = group.kinds

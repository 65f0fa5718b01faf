"""kcore's own suite for policies."""

from __future__ import annotations

from kcore_policy_data_locality import Config
from kcore_policy_data_locality.policy import DataLocality

from kcore.objects import Object
from kcore.scheduler.policy import Policy
from kcore.testing.policy import PolicySuite
from kcore.testing.scheduling import node, pod

ZONE = "topology.kubernetes.io/zone"


class TestDataLocality(PolicySuite):
    def policy(self) -> Policy:
        return DataLocality(Config())

    def nodes(self) -> list[Object]:
        held = ({"imagenet": "150G", "coco": "20G"}, {}, {"coco": "yes"}, {"imagenet": "150G"}, {})
        return [
            node(f"node-{i}", labels={ZONE: "ab"[i % 2], **{f"dataset.kcore.dev/{k}": v for k, v in labels.items()}})
            for i, labels in enumerate(held)
        ]

    def pods(self) -> list[Object]:
        reads = {"datasets.kcore.dev/reads": "imagenet, coco"}
        return [
            pod("plain"),
            pod("reader", annotations=reads),
            pod("strict", annotations={**reads, "datasets.kcore.dev/required": "true"}),
        ]

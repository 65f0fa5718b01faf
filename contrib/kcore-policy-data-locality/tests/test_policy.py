"""What the policy decides, alone and in a scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest
from kcore_policy_data_locality import Config, kcore_policy
from kcore_policy_data_locality.policy import DataLocality

from kcore.objects import Object
from kcore.scheduler.pods import PodInfo
from kcore.testing import TestContext
from kcore.testing.scheduling import node, node_table, pod

ZONE = "topology.kubernetes.io/zone"


def holding(name: str, zone: str = "", **datasets: str) -> Object:
    labels = {f"dataset.kcore.dev/{k}": v for k, v in datasets.items()}
    return node(name, labels={**labels, ZONE: zone} if zone else labels)


def reading(*datasets: str, required: bool = False) -> PodInfo:
    annotations = {"datasets.kcore.dev/reads": ",".join(datasets)}
    if required:
        annotations["datasets.kcore.dev/required"] = "true"
    return PodInfo(pod("p", annotations=annotations))


def scores(policy: DataLocality, info: PodInfo, *nodes: Object) -> list[float]:
    found = policy.score(info, node_table(nodes))
    assert found is not None
    return [round(float(s), 1) for s in policy.normalize(found)]


def test_the_node_with_the_most_of_the_data_is_best() -> None:
    nodes = (holding("a", imagenet="150G"), holding("b", coco="50G"), holding("c"))
    assert scores(DataLocality(Config()), reading("imagenet", "coco"), *nodes) == [100.0, 33.3, 0.0]


def test_a_node_near_the_data_gets_a_share() -> None:
    nodes = (holding("a", "x", imagenet="1G"), holding("b", "x"), holding("c", "y"), holding("d"))
    assert scores(DataLocality(Config(nearby_share=0.25)), reading("imagenet"), *nodes) == [100.0, 25.0, 0.0, 0.0]


def test_a_dataset_of_unknown_size_counts_as_a_gigabyte() -> None:
    nodes = (holding("a", imagenet="yes"), holding("b", imagenet="2G"))
    assert scores(DataLocality(Config()), reading("imagenet"), *nodes) == [50.0, 100.0]


def test_pods_without_the_annotation_are_none_of_its_business() -> None:
    table = node_table([holding("a", imagenet="1G")])
    info = PodInfo(pod("p"))
    assert DataLocality(Config()).filter(info, table) is None
    assert DataLocality(Config()).score(info, table) is None


def test_required_datasets_must_all_be_there() -> None:
    table = node_table([holding("a", imagenet="1G"), holding("b", imagenet="1G", coco="1G")])
    policy = DataLocality(Config())
    mask = policy.filter(reading("imagenet", "coco", required=True), table)
    assert mask is not None
    assert list(mask) == [False, True]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="nearby_share"):
        Config(nearby_share=2.0)


async def test_its_provider_opens(tmp_path: Path) -> None:
    (provider,) = kcore_policy()
    async with provider.open(TestContext(tmp_path), provider.config()) as policy:
        assert policy.name == provider.name == "DataLocality"

"""What is refused of the kinds that no controller of ours acts on: every mistake at once, each with its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kcore_kinds import validation
from kcore_kinds.gostruct import CORE, POD_SPEC, TAINT, difference, go

Object = dict[str, Any]


def wrong(definition: str, obj: Object, old: Object | None = None) -> list[str]:
    """``path: message`` of every mistake."""
    obj = {"metadata": {"name": "x", **obj.get("metadata", {})}, **{k: v for k, v in obj.items() if k != "metadata"}}
    return [f"{c.field}: {c.message}" for c in validation.check(f"io.k8s.api.{definition}", obj, old)]


def said(definition: str, spec: Object, *expected: str, **members: Any) -> None:
    found = wrong(definition, {"spec": spec, **members})
    for text in expected:
        assert any(text in one for one in found), found
    assert len(found) == len(expected), found


# --- flow control ---------------------------------------------------------------------------------------------------

RULE = {
    "subjects": [{"kind": "User", "user": {"name": "alice"}}],
    "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
}
FLOW = {"matchingPrecedence": 100, "priorityLevelConfiguration": {"name": "global-default"}, "rules": [RULE]}


def test_a_good_flow_schema_is_taken():
    said("flowcontrol.v1.FlowSchema", FLOW)


def test_every_mistake_of_a_flow_schema_is_told():
    said(
        "flowcontrol.v1.FlowSchema",
        {"matchingPrecedence": 1, "distinguisherMethod": {"type": "X"}, "rules": [{}]},
        "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
        'spec.distinguisherMethod: Unsupported value: "X": supported values: "ByNamespace", "ByUser"',
        "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        "spec.rules[0].subjects: Required value: subjects must contain at least one value",
        "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
    )


def test_subjects_and_rules_of_a_flow_schema():
    rule = {
        "subjects": [{"kind": "Group", "user": {"name": "a"}}, {"kind": "ServiceAccount", "serviceAccount": {}}],
        "resourceRules": [{"verbs": ["*", "get"], "apiGroups": [], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["fly"], "nonResourceURLs": ["healthz", "/a/*/b"]}],
    }
    at = "spec.rules[0]"
    said(
        "flowcontrol.v1.FlowSchema",
        {**FLOW, "rules": [rule]},
        f"{at}.subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
        f"{at}.subjects[0].group: Required value: group is required when subject kind is 'Group'",
        f"{at}.subjects[1].serviceAccount.name: Required value",
        f"{at}.subjects[1].serviceAccount.namespace: Required value: must specify namespace for service account",
        f"{at}.resourceRules[0].verbs: Invalid value",
        f"{at}.resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
        f"{at}.resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped",
        f"{at}.nonResourceRules[0].verbs: Unsupported value",
        f"{at}.nonResourceRules[0].nonResourceURLs[0]: Invalid value",
        f"{at}.nonResourceRules[0].nonResourceURLs[1]: Invalid value",
    )


def test_priority_levels():
    level = "flowcontrol.v1.PriorityLevelConfiguration"
    queuing = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
    said(level, {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}})
    said(level, {"type": "Limited"}, "spec.limited: Required value: must not be empty when type is Limited")
    said(level, {"type": "Exempt"}, "spec.type: Invalid value")
    said(
        level,
        {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": -1,
                "lendablePercent": 101,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 8, "queueLengthLimit": 0}},
            },
        },
        "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
        "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        "queuing.queueLengthLimit: Invalid value: 0: must be positive",
        "queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
    )
    huge = {"queues": 1024, "handSize": 8, "queueLengthLimit": 50}
    limited = {"limitResponse": {"type": "Queue", "queuing": huge}}
    said(level, {"type": "Limited", "limited": limited}, "should not be greater than 60")


# --- storage --------------------------------------------------------------------------------------------------------

DRIVER = {"attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "fsGroupPolicy": "File"}


def test_csi_drivers():
    driver = "storage.v1.CSIDriver"
    said(driver, DRIVER)
    twice = [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]
    said(
        driver,
        {"fsGroupPolicy": "x", "tokenRequests": twice, "volumeLifecycleModes": ["x"]},
        "spec.attachRequired: Required value",
        "spec.podInfoOnMount: Required value",
        "spec.storageCapacity: Required value",
        "spec.fsGroupPolicy: Unsupported value",
        "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        'spec.tokenRequests[1].audience: Duplicate value: "a"',
        "spec.volumeLifecycleModes: Unsupported value",
    )
    changed = wrong(driver, {"spec": {**DRIVER, "attachRequired": False}}, {"spec": DRIVER})
    assert changed == ["spec.attachRequired: Invalid value: false: field is immutable"]


def test_csi_nodes_may_only_report_other_capacities():
    one = {"name": "d", "nodeID": "n", "topologyKeys": ["a/b"], "allocatable": {"count": 1}}
    old = {"spec": {"drivers": [one]}}
    assert not wrong("storage.v1.CSINode", {"spec": {"drivers": [{**one, "allocatable": {"count": 2}}]}}, old)
    assert "immutable" in wrong("storage.v1.CSINode", {"spec": {"drivers": [{**one, "nodeID": "m"}]}}, old)[0]
    said(
        "storage.v1.CSINode",
        {"drivers": [one, {**one, "nodeID": "", "topologyKeys": ["k", "k"], "allocatable": {"count": -1}}]},
        'spec.drivers[1].nodeID: Required value',
        "spec.drivers[1].allocatable.count: Invalid value",
        'spec.drivers[1].name: Duplicate value: "d"',
        'spec.drivers[1].topologyKeys: Duplicate value: "k"',
    )  # fmt: skip


def test_volume_attachments_are_fixed():
    spec = {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}
    kind = "storage.v1.VolumeAttachment"
    said(kind, spec)
    said(kind, {}, "spec.attacher: Required", "spec.nodeName: Required", "spec.source: Required value: must specify")
    assert "field is immutable" in wrong(kind, {"spec": {**spec, "nodeName": "m"}}, {"spec": spec})[0]


def test_classes_of_attributes_and_capacities():
    kind = "storage.v1.VolumeAttributesClass"
    assert wrong(kind, {}) == [
        "driverName: Required value",
        "parameters: Required value: must contain at least one attribute/parameter pair",
    ]
    old = {"driverName": "d", "parameters": {"a": "b"}}
    found = wrong(kind, {"driverName": "e", "parameters": {"a": "c"}}, old)
    assert found == [f"{n}: Forbidden: updates to {n} are forbidden." for n in ("driverName", "parameters")]
    kind = "storage.v1.CSIStorageCapacity"
    assert wrong(kind, {"capacity": "-1"}) == [
        "storageClassName: Required value", 'capacity: Invalid value: "-1": must be greater than or equal to 0',
    ]  # fmt: skip


# --- addresses ------------------------------------------------------------------------------------------------------


def test_addresses_and_ranges():
    said("networking.v1.IPAddress", {}, "spec.parentRef: Required value")
    ref = {"resource": "services", "name": "a", "namespace": "b"}
    said("networking.v1.IPAddress", {"parentRef": ref})
    assert wrong("networking.v1.IPAddress", {"spec": {"parentRef": ref}}, {"spec": {}})
    said("networking.v1.ServiceCIDR", {}, "spec.cidrs: Required value: at least one CIDR required")
    said("networking.v1.ServiceCIDR", {"cidrs": ["10.0.0.0/16", "fd00::/64"]})
    said("networking.v1.ServiceCIDR", {"cidrs": ["10.0.0.0/16", "10.1.0.0/16"]}, "no more than one IP for each")
    said("networking.v1.ServiceCIDR", {"cidrs": ["10.0.0.1/16"]}, "must be in canonical form")
    assert wrong("networking.v1.ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/8"]}}, {"spec": {"cidrs": ["10.0.0.0/9"]}})


@pytest.mark.parametrize(("name", "fine"), [("10.0.0.1", True), ("fd00::1", True), ("10.0.0.01", False), ("a", False)])
def test_an_address_is_named_by_itself(name, fine):
    from kcore_kinds.validation.addresses import address_name

    assert (not address_name(name)) is fine


# --- devices --------------------------------------------------------------------------------------------------------

REQUEST = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}


def test_claims_on_devices():
    kind = "resource.v1.ResourceClaim"
    said(kind, {"devices": {"requests": [REQUEST]}})
    bad = copy.deepcopy(REQUEST)
    bad["exactly"].update(deviceClassName="", count=0, selectors=[{}])
    devices = {
        "requests": [REQUEST, bad, {"name": "two"}],
        "constraints": [{"requests": ["none"], "matchAttribute": "x"}],
        "config": [{"requests": ["gpu"], "opaque": {"driver": "", "parameters": 1}}],
    }
    at = "spec.devices"
    said(
        kind,
        {"devices": devices},
        f'{at}.requests[1].name: Duplicate value: "gpu"',
        f"{at}.requests[1].exactly.deviceClassName: Required value",
        f"{at}.requests[1].exactly.selectors[0].cel: Required value",
        f"{at}.requests[1].exactly.count: Invalid value: 0: must be greater than zero",
        f"{at}.requests[2]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        f'{at}.constraints[0].requests[0]: Invalid value: "none": must be the name of a request in the claim',
        f'{at}.constraints[0].matchAttribute: Invalid value: "x": must include a domain',
        f"{at}.config[0].opaque.driver: Required value",
        f"{at}.config[0].opaque.parameters: Invalid value",
    )
    found = wrong(kind, {"spec": {"devices": {}}}, {"spec": {"devices": {"requests": [REQUEST]}}})
    assert "field is immutable" in found[0]


def test_what_drivers_publish():
    pool = {"name": "p", "resourceSliceCount": 1}
    device = {"name": "d", "attributes": {"a": {"int": 1}}}
    kind = "resource.v1.ResourceSlice"
    said(kind, {"driver": "d", "pool": pool, "nodeName": "n", "devices": [device]})
    said(
        kind,
        {"pool": {}, "devices": [device, {"name": "d", "attributes": {"a": {}}}]},
        "spec.driver: Required value",
        "spec.pool.name: Required value",
        "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
        "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`",
        'spec.devices[1].name: Duplicate value: "d"',
        "spec.devices[1].attributes[a]: Required value: exactly one value must be specified",
    )


# --- others ---------------------------------------------------------------------------------------------------------


def test_a_cron_job_leaves_its_jobs_room_for_a_name():
    found = wrong("batch.v1.CronJob", {"metadata": {"name": "x" * 53}, "spec": {}})
    assert f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters' in found


# --- go's structs ---------------------------------------------------------------------------------------------------


def test_a_struct_prints_all_its_members_in_order():
    assert list(go(TAINT, {"key": "a", "effect": "NoSchedule"})) == ["Key", "Value", "Effect", "TimeAdded"]
    pod = go(POD_SPEC, {"containers": [{"name": "c"}], "hostNetwork": True})
    assert list(pod)[:4] == ["Volumes", "InitContainers", "Containers", "EphemeralContainers"]
    assert pod["SecurityContext"]["HostNetwork"] is True, "an internal pod has it there"
    assert pod["Containers"][0]["Image"] == ""
    assert pod["Containers"][0]["LivenessProbe"] is None


def test_what_is_embedded_stands_in_its_parent():
    volume = go(CORE + "Volume", {"name": "v", "emptyDir": {}})
    assert volume["EmptyDir"] == {"Medium": "", "SizeLimit": None}
    assert volume["HostPath"] is None


def test_a_difference_shows_three_lines_around():
    old = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    new = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    text = difference(CORE + "PersistentVolumeClaimSpec", old, new)
    assert text == (
        '@@ -1,6 +1,6 @@\n {\n  "AccessModes": [\n-  "ReadWriteOnce"\n+  "ReadWriteMany"\n  ],\n'
        '  "Selector": null,\n  "Resources": {\n'
    )
    assert difference(CORE + "PersistentVolumeClaimSpec", old, old) == ""

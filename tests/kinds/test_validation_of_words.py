"""Fields that take words of a list, and fields that exclude each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kinds.validating import CONTAINER, Object, container, pod, refused


def job(**members: Any) -> Object:
    inner = {"containers": [CONTAINER], "restartPolicy": "Never"}
    return {"template": {"spec": inner}, **members}


def failing(*rules: Object, **members: Any) -> Object:
    return job(podFailurePolicy={"rules": list(rules)}, **members)


def test_words_that_a_pod_does_not_know_are_refused(created):
    profile = '"Localhost", "RuntimeDefault", "Unconfined"'
    context = {"supplementalGroupsPolicy": "Some", "appArmorProfile": {"type": "Other"}}
    at = "spec.securityContext"
    assert refused(created, "pods", pod(securityContext=context)) == [
        (
            "NotSupported",
            f"{at}.supplementalGroupsPolicy",
            'Unsupported value: "Some": supported values: "Merge", "Strict"',
        ),
        ("NotSupported", f"{at}.appArmorProfile.type", f'Unsupported value: "Other": supported values: {profile}'),
    ]
    inner = {"procMount": "Masked", "appArmorProfile": {"type": "Localhost"}}
    at = "spec.containers[0].securityContext"
    assert refused(created, "pods", container(securityContext=inner)) == [
        ("NotSupported", f"{at}.procMount", 'Unsupported value: "Masked": supported values: "Default", "Unmasked"'),
        (
            "Required",
            f"{at}.appArmorProfile.localhostProfile",
            "Required value: must be set when AppArmor type is Localhost",
        ),
    ]


def test_an_unmasked_proc_needs_a_user_namespace_of_its_own(created):
    unmasked = {"securityContext": {"procMount": "Unmasked"}}
    why = 'Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'
    at = "spec.containers[0].securityContext.procMount"
    assert refused(created, "pods", container(**unmasked)) == [("Invalid", at, why)]
    assert refused(created, "pods", {**container(**unmasked), "hostUsers": True}) == [("Invalid", at, why)]
    assert refused(created, "pods", {**container(**unmasked), "hostUsers": False}) == []
    init = {"name": "i", "image": "img", **unmasked}
    at = "spec.initContainers[0].securityContext.procMount"
    assert refused(created, "pods", pod(initContainers=[init])) == [("Invalid", at, why)]


def test_a_user_namespace_of_its_own_goes_with_no_other_of_the_node(created):
    spec = pod(hostUsers=False, hostNetwork=True, hostPID=True, hostIPC=True)
    why = "Forbidden: when `hostUsers` is false"
    assert refused(created, "pods", spec) == [
        ("Forbidden", f"spec.{name}", why) for name in ("hostNetwork", "hostPID", "hostIPC")
    ]


@pytest.mark.parametrize(
    ("profile", "reason", "member"),
    [
        ({"type": "Localhost", "localhostProfile": " x"}, "Invalid", ".localhostProfile"),
        ({"type": "Localhost", "localhostProfile": "x" * 4096}, "TooLong", ".localhostProfile"),
        ({"type": "Unconfined", "localhostProfile": "x"}, "Invalid", ".localhostProfile"),
        ({"type": ""}, "Required", ".type"),
    ],
)
def test_an_app_armor_profile_is_of_a_type_and_has_a_name_where_it_needs_one(created, profile, reason, member):
    ((got, field, _),) = refused(created, "pods", pod(securityContext={"appArmorProfile": profile}))
    assert (got, field) == (reason, f"spec.securityContext.appArmorProfile{member}")
    good = {"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}
    assert not refused(created, "pods", pod(securityContext=good))


def test_spreading_counts_nodes_by_policies_it_knows(created):
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}
    constraint |= {"nodeAffinityPolicy": "Maybe", "nodeTaintsPolicy": "Honor"}
    at = "spec.topologySpreadConstraints[0]"
    assert refused(created, "pods", pod(topologySpreadConstraints=[constraint])) == [
        (
            "Invalid",
            f"{at}.minDomains",
            "Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ),
        (
            "NotSupported",
            f"{at}.nodeAffinityPolicy",
            'Unsupported value: "Maybe": supported values: "Honor", "Ignore"',
        ),
    ]


def test_preferences_for_nodes_are_held_to_the_operators_of_requirements(created):
    term = {
        "weight": 1,
        "preference": {
            "matchExpressions": [{"key": "a", "operator": "Near"}],
            "matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["a", "b"]}],
        },
    }
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    at = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
    assert refused(created, "pods", pod(affinity=affinity)) == [
        (
            "Invalid",
            f"{at}.matchExpressions[0].operator",
            'Invalid value: "Near": not a valid selector operator',
        ),
        (
            "Required",
            f"{at}.matchFields[0].values",
            "Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        ("Invalid", f"{at}.matchFields[0].key", 'Invalid value: "metadata.uid": not a valid field selector key'),
    ]


def test_jobs_replace_pods_and_judge_failures_by_words_they_know(created):
    ((_, field, message),) = refused(created, "jobs.batch", job(podReplacementPolicy="Never"))
    assert field == "spec.podReplacementPolicy"
    assert message == 'Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"'
    codes = {"operator": "In", "values": [1]}
    good = {"action": "FailJob", "onExitCodes": codes}
    assert not refused(created, "jobs.batch", failing(good))
    late = failing(good, podReplacementPolicy="TerminatingOrFailed")
    assert refused(created, "jobs.batch", late)[0][2].endswith('supported values: "Failed"')
    at = "spec.podFailurePolicy.rules"
    rules = [
        {"action": "Retry", "onExitCodes": codes},
        {"action": "", "onExitCodes": codes},
        {"action": "FailIndex", "onExitCodes": codes},
        {"action": "Ignore"},
        {"action": "Ignore", "onExitCodes": codes, "onPodConditions": [{"type": "Ready", "status": "Perhaps"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "Is", "values": [2, 1, 1], "containerName": "z"}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0]}},
    ]
    known = '"Count", "FailIndex", "FailJob", "Ignore"'
    assert [(field, message) for _, field, message in refused(created, "jobs.batch", failing(*rules))] == [
        (f"{at}[0].action", f'Unsupported value: "Retry": supported values: {known}'),
        (f"{at}[1].action", 'Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'),
        (f"{at}[2].action", 'Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'),
        (f"{at}[3]", "Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        (
            f"{at}[4].onPodConditions[0].status",
            'Unsupported value: "Perhaps": supported values: "False", "True", "Unknown"',
        ),
        (f"{at}[4]", "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
        (f"{at}[5].onExitCodes.operator", 'Unsupported value: "Is": supported values: "In", "NotIn"'),
        (
            f"{at}[5].onExitCodes.containerName",
            'Invalid value: "z": must be one of the container or initContainer names in the pod template',
        ),
        (f"{at}[5].onExitCodes.values[2]", "Duplicate value: 1"),
        (f"{at}[5].onExitCodes.values", "Invalid value: [2,1,1]: must be ordered"),
        (f"{at}[6].onExitCodes.values[0]", "Invalid value: 0: must not be 0 for the In operator"),
    ]


def test_services_name_families_and_policies_that_there_are(created):
    spec = {"ports": [{"port": 80}], "ipFamilyPolicy": "Both", "ipFamilies": ["IPv4", "IPv5", "IPv4"]}
    assert refused(created, "services", spec) == [
        ("NotSupported", "spec.ipFamilies[1]", 'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'),
        ("Duplicate", "spec.ipFamilies[2]", 'Duplicate value: "IPv4"'),
        (
            "NotSupported",
            "spec.ipFamilyPolicy",
            'Unsupported value: "Both": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
        ),
    ]

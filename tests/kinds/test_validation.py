"""What is refused, and what is said about it."""

from __future__ import annotations

import importlib

import pytest
from kcore_kinds.validation import RULES
from kcore_kinds.validation.jobs import schedule_error

from tests.kinds.validating import CONTAINER, KINDS, TEMPLATE, WORKLOAD, Object, changed, container, pod, refused, said


@pytest.mark.parametrize(("module", "function"), RULES.values())
def test_every_rule_that_is_named_exists(module, function):
    assert callable(getattr(importlib.import_module(f"kcore_kinds.validation.{module}"), function))


def test_the_smallest_useful_objects_are_accepted(created):
    assert not refused(created, "pods", pod())
    assert not refused(created, "deployments.apps", WORKLOAD)
    assert not refused(created, "statefulsets.apps", WORKLOAD)
    assert not refused(created, "daemonsets.apps", WORKLOAD)
    assert not refused(created, "replicasets.apps", WORKLOAD)
    assert not refused(created, "replicationcontrollers", {"template": TEMPLATE})
    assert not refused(created, "services", {"ports": [{"port": 80}]})
    assert not refused(created, "services", {"clusterIP": "None"})
    job = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
    assert not refused(created, "jobs.batch", job)
    assert not refused(created, "cronjobs.batch", {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert not refused(created, "persistentvolumeclaims", claim)
    assert not refused(created, "configmaps", data={"a.conf": "x"})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [("Required", "spec.containers", "Required value")]),
        (
            pod(containers=[{}]),
            [
                ("Required", "spec.containers[0].name", "Required value"),
                ("Required", "spec.containers[0].image", "Required value"),
            ],
        ),
        (
            pod(containers=[CONTAINER, CONTAINER]),
            [("Duplicate", "spec.containers[1].name", 'Duplicate value: "c"')],
        ),
        (
            pod(initContainers=[CONTAINER]),
            [("Duplicate", "spec.initContainers[0].name", 'Duplicate value: "c"')],
        ),
        (
            pod(restartPolicy="Sometimes"),
            [
                (
                    "NotSupported",
                    "spec.restartPolicy",
                    'Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
                )
            ],
        ),
        (
            container(image=" img"),
            [
                (
                    "Invalid",
                    "spec.containers[0].image",
                    'Invalid value: " img": must not have leading or trailing whitespace',
                )
            ],
        ),
        (
            container(ports=[{"containerPort": 70000}, {"containerPort": 1, "name": "Bad_Name"}]),
            [
                (
                    "Invalid",
                    "spec.containers[0].ports[0].containerPort",
                    "Invalid value: 70000: must be between 1 and 65535, inclusive",
                ),
                (
                    "Invalid",
                    "spec.containers[0].ports[1].name",
                    'Invalid value: "Bad_Name": must contain only alpha-numeric characters (a-z, 0-9), '
                    "and hyphens (-)",
                ),
            ],
        ),
        (
            container(ports=[{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]),
            [("Duplicate", "spec.containers[0].ports[1].hostPort", 'Duplicate value: "TCP//5"')],
        ),
        (
            container(livenessProbe={"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}),
            [
                (
                    "Forbidden",
                    "spec.containers[0].livenessProbe.tcpSocket",
                    "Forbidden: may not specify more than 1 handler type",
                )
            ],
        ),
        (
            container(volumeMounts=[{"name": "nope", "mountPath": "/x"}]),
            [("NotFound", "spec.containers[0].volumeMounts[0].name", 'Not found: "nope"')],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            [("Forbidden", "spec.volumes[0].hostPath", "Forbidden: may not specify more than 1 volume type")],
        ),
        (
            container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            [
                (
                    "Invalid",
                    "spec.containers[0].resources.requests",
                    'Invalid value: "2": must be less than or equal to cpu limit of 1',
                )
            ],
        ),
        (
            container(env=[{"name": "Y", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}]),
            [
                (
                    "Invalid",
                    "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
                    'Invalid value: "spec.foo": error converting fieldPath: field label not supported: spec.foo',
                )
            ],
        ),
        (
            pod(
                topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
            ),
            [
                (
                    "Invalid",
                    "spec.topologySpreadConstraints[0].maxSkew",
                    "Invalid value: 0: must be greater than zero",
                )
            ],
        ),
        (
            pod(tolerations=[{"operator": "Exists", "tolerationSeconds": 3}]),
            [
                (
                    "Invalid",
                    "spec.tolerations[0].effect",
                    "Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                )
            ],
        ),
    ],
)
def test_pods(created, spec, expected):
    assert refused(created, "pods", spec) == expected


def test_a_pod_is_fixed_but_for_its_images_and_more_tolerations(created):
    old = {"spec": pod()}
    assert not changed(created, "pods", old, {"spec": container(image="other")})
    more = [{"key": "k", "operator": "Exists"}]
    assert not changed(created, "pods", old, {"spec": pod(tolerations=more)})
    ((reason, field, message),) = changed(created, "pods", old, {"spec": container(command=["x"])})
    assert (reason, field) == ("Forbidden", "spec")
    assert message.startswith("Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    two = pod(containers=[CONTAINER, {"name": "d", "image": "i"}])
    assert changed(created, "pods", old, {"spec": two}) == [
        ("Forbidden", "spec.containers", "Forbidden: pod updates may not add or remove containers")
    ]


def test_a_selector_must_find_the_pods_of_its_template(created):
    spec = {**WORKLOAD, "selector": {"matchLabels": {"x": "y"}}}
    expected = [
        (
            "Invalid",
            "spec.template.metadata.labels",
            'Invalid value: {"a":"b"}: `selector` does not match template `labels`',
        )
    ]
    for resource in ("deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps"):
        assert refused(created, resource, spec) == expected


def test_a_selector_cannot_change(created):
    other = {"matchLabels": {"a": "b", "c": "d"}}
    labels = {**TEMPLATE, "metadata": {"labels": {"a": "b", "c": "d"}}}
    new = {"selector": other, "template": labels}
    assert changed(created, "deployments.apps", {"spec": WORKLOAD}, {"spec": new}) == [
        ("Invalid", "spec.selector", 'Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable')
    ]


def test_a_stateful_set_keeps_its_claims_and_its_service(created):
    ((reason, field, message),) = changed(
        created, "statefulsets.apps", {"spec": WORKLOAD}, {"spec": {**WORKLOAD, "serviceName": "other"}}
    )
    assert (reason, field) == ("Forbidden", "spec")
    assert "updates to statefulset spec for fields other than 'replicas'" in message
    assert not changed(created, "statefulsets.apps", {"spec": WORKLOAD}, {"spec": {**WORKLOAD, "replicas": 5}})


def test_containers_of_a_stateful_set_may_mount_the_claims_of_its_templates(created):
    mounts = [{"name": "data", "mountPath": "/data"}]
    container = {**TEMPLATE["spec"]["containers"][0], "volumeMounts": mounts}
    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "containers": [container]}}
    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    spec = {**WORKLOAD, "template": template}
    assert not refused(created, "statefulsets.apps", {**spec, "volumeClaimTemplates": claims})
    ((reason, field, _),) = refused(created, "statefulsets.apps", spec)
    assert (reason, field) == ("NotFound", "spec.template.spec.containers[0].volumeMounts[0].name")


def test_a_status_does_not_count_more_ready_pods_than_pods(created):
    obj = created("deployments.apps", WORKLOAD)
    obj["status"] = {"replicas": 1, "readyReplicas": 2}
    assert said(KINDS["deployments.apps"].strategy.validate_status(obj, obj)) == [
        ("Invalid", "status.readyReplicas", "Invalid value: 2: cannot be greater than status.replicas")
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [("Required", "spec.ports", "Required value")]),
        (
            {"ports": [{"port": 80, "nodePort": 31000}]},
            [("Forbidden", "spec.ports[0].nodePort", "Forbidden: may not be used when `type` is 'ClusterIP'")],
        ),
        ({"type": "ExternalName"}, [("Required", "spec.externalName", "Required value")]),
        (
            {"ports": [{"port": 80}, {"port": 81}]},
            [
                ("Required", "spec.ports[0].name", "Required value"),
                ("Required", "spec.ports[1].name", "Required value"),
            ],
        ),
    ],
)
def test_services(created, spec, expected):
    assert refused(created, "services", spec) == expected


def test_a_service_keeps_its_address(created):
    old = {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}
    assert changed(created, "services", {"spec": old}, {"spec": {**old, "clusterIP": "10.0.0.2"}}) == [
        ("Invalid", "spec.clusterIPs[0]", 'Invalid value: ["10.0.0.2"]: may not change once set')
    ]


def test_keys_of_config_maps_become_files(created):
    found = refused(created, "configmaps", data={"a b": "c", "..": "x"}, binaryData={"a b": "AA=="})
    assert [(f, m.rpartition(": ")[2]) for _, f, m in found if "valid config key" not in m] == [
        ("data[a b]", "duplicate of key present in binaryData"),
        ("data[..]", "must not be '..'"),
    ]


def test_what_was_made_immutable_stays(created):
    why = "Forbidden: field is immutable when `immutable` is set"
    old = {"data": {"a": "b"}, "immutable": True}
    assert changed(created, "configmaps", old, {"data": {"a": "c"}}) == [
        ("Forbidden", "immutable", why),
        ("Forbidden", "data", why),
    ]
    assert changed(created, "secrets", {"data": {"a": "Yg=="}, "immutable": True}, {"immutable": True}) == [
        ("Forbidden", "data", why)
    ]


@pytest.mark.parametrize(
    ("type", "data", "fields"),
    [
        ("kubernetes.io/tls", {}, ["data[tls.crt]", "data[tls.key]"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
        ("kubernetes.io/basic-auth", {"password": "eA=="}, []),
        ("kubernetes.io/dockerconfigjson", {}, ["data[.dockerconfigjson]"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "e30="}, []),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "ezA="}, ["data[.dockerconfigjson]"]),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]"],
        ),
    ],
)
def test_secrets_of_a_type_have_what_it_needs(created, type, data, fields):
    assert [f for _, f, _ in refused(created, "secrets", type=type, data=data)] == fields


def test_a_claim_needs_a_size_and_cannot_change_before_it_is_bound(created):
    assert refused(created, "persistentvolumeclaims", {}) == [
        ("Required", "spec.accessModes", "Required value: at least 1 access mode is required"),
        ("Required", "spec.resources[storage]", "Required value"),
    ]

    def size(amount: str) -> Object:
        return {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": amount}}}}

    ((reason, field, _),) = changed(created, "persistentvolumeclaims", size("1Gi"), size("2Gi"))
    assert (reason, field) == ("Forbidden", "spec")
    old, new = created("persistentvolumeclaims", **size("1Gi")), created("persistentvolumeclaims", **size("2Gi"))
    old["status"] = new["status"] = {"phase": "Bound"}
    assert not said(KINDS["persistentvolumeclaims"].strategy.validate_update(new, old))


def test_roles_and_bindings(created):
    assert refused(created, "roles.rbac.authorization.k8s.io", rules=[{"resources": ["pods"]}]) == [
        ("Required", "rules[0].verbs", "Required value: verbs must contain at least one value"),
        ("Required", "rules[0].apiGroups", "Required value: resource rules must supply at least one api group"),
    ]
    old = {"roleRef": {"kind": "ClusterRole", "name": "view"}}
    new = {"roleRef": {"kind": "ClusterRole", "name": "edit"}}
    assert changed(created, "rolebindings.rbac.authorization.k8s.io", old, new) == [
        (
            "Invalid",
            "roleRef",
            'Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: '
            "cannot change roleRef",
        )
    ]


def test_a_job_ends_and_keeps_its_number_of_completions(created):
    always = {"template": {"spec": {"containers": [CONTAINER]}}}
    assert refused(created, "jobs.batch", always) == [
        ("Required", "spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')
    ]
    never = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
    old, new = {"spec": {**never, "completions": 2}}, {"spec": {**never, "completions": 3}}
    assert changed(created, "jobs.batch", old, new) == [
        ("Invalid", "spec.completions", "Invalid value: 3: field is immutable")
    ]


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("* * * * *", ""),
        ("*/15 9-17 1,15 jan-mar mon", ""),
        ("@hourly", ""),
        ("* *", "expected exactly 5 fields, found 2: [* *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_schedules(schedule, wrong):
    assert schedule_error(schedule) == wrong


def test_a_network_policy_names_peers_and_ports(created):
    block = {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}
    spec = {"ingress": [{"from": [{"ipBlock": block}, {}], "ports": [{"port": 0}]}]}
    assert [(r, f) for r, f, _ in refused(created, "networkpolicies.networking.k8s.io", spec)] == [
        ("Invalid", "spec.ingress[0].ports[0].port"),
        ("Invalid", "spec.ingress[0].from[0].ipBlock.except[0]"),
        ("Required", "spec.ingress[0].from[1]"),
    ]


def test_an_ingress_needs_somewhere_to_send_requests(created):
    assert [(r, f) for r, f, _ in refused(created, "ingresses.networking.k8s.io", {})] == [("Invalid", "spec")]
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [
        {"path": "/", "pathType": "Prefix", "backend": backend},
        {"path": "x", "pathType": "Exact", "backend": {}},
    ]
    spec = {"rules": [{"host": "*.example.com", "http": {"paths": paths}}, {"host": "10.0.0.1"}]}
    assert [(r, f) for r, f, _ in refused(created, "ingresses.networking.k8s.io", spec)] == [
        ("Invalid", "spec.rules[0].http.paths[1].path"),
        ("Required", "spec.rules[0].http.paths[1].backend"),
        ("Invalid", "spec.rules[1].host"),
    ]


def test_an_autoscaler_has_a_target_and_bounds(created):
    spec = {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}
    assert [(f, m) for _, f, m in refused(created, "horizontalpodautoscalers.autoscaling", spec, version="v2")] == [
        ("spec.maxReplicas", "Invalid value: 2: must be greater than or equal to `minReplicas`"),
        ("spec.scaleTargetRef.apiVersion", 'Invalid value: "": apiVersion must specify API group'),
    ]


def test_priorities_of_users_stay_below_those_of_the_system(created):
    resource = "priorityclasses.scheduling.k8s.io"
    assert refused(created, resource, value=2_000_000_000) == [
        ("Forbidden", "value", "Forbidden: maximum allowed value of a user defined priority is 1000000000")
    ]
    system = {"name": "system-node-critical", "namespace": ""}
    assert not refused(created, resource, value=2000001000, metadata=system)


def test_what_was_decided_about_a_certificate_request_stays_decided():
    approved = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    strategy = KINDS["certificatesigningrequests.certificates.k8s.io"].strategy
    assert [c.message for c in strategy.validate_status({"status": {}}, approved)] == [
        'Forbidden: updates may not remove a condition of type "Approved"'
    ]
    assert list(strategy.validate_status(approved, approved)) == []

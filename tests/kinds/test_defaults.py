"""What the API fills in, kind by kind."""

from __future__ import annotations

import pytest

CONTAINER = {"name": "c", "image": "img"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
FILLED = {
    "name": "c",
    "image": "img",
    "imagePullPolicy": "Always",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def test_a_pod(created):
    pod = created("pods", {"containers": [CONTAINER]})
    assert pod["spec"] == {
        "containers": [FILLED],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("img", "Always"),
        ("img:latest", "Always"),
        ("img:1", "IfNotPresent"),
        ("host:5000/img", "Always"),
        ("host:5000/img:1", "IfNotPresent"),
        ("img@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_images_are_pulled_by_their_tag(created, image, policy):
    pod = created("pods", {"containers": [{"name": "c", "image": image}]})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(created, resources, qos):
    pod = created("pods", {"containers": [{**CONTAINER, "resources": resources}]})
    assert pod["status"]["qosClass"] == qos


def test_requests_of_a_pod_come_from_limits_but_not_those_of_a_template(created):
    limited = {**CONTAINER, "resources": {"limits": {"cpu": "1"}}}
    pod = created("pods", {"containers": [limited]})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [limited]}}
    deployment = created("deployments.apps", {"selector": {"matchLabels": {"a": "b"}}, "template": template})
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_probes_ports_and_volumes(created):
    container = {
        **CONTAINER,
        "livenessProbe": {"httpGet": {"port": 80}, "failureThreshold": 7},
        "ports": [{"containerPort": 80}],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    volumes = [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "hostPath": {"path": "/"}}]
    spec = created("pods", {"containers": [container], "volumes": volumes, "hostNetwork": True})["spec"]
    (filled,) = spec["containers"]
    assert filled["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "failureThreshold": 7,
        "periodSeconds": 10,
        "successThreshold": 1,
        "timeoutSeconds": 1,
    }
    assert filled["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert filled["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert [v.get("emptyDir") for v in spec["volumes"]] == [{}, None, None]
    assert spec["volumes"][1]["secret"]["defaultMode"] == 420
    assert spec["volumes"][2]["hostPath"]["type"] == ""


def test_a_gated_pod_says_so(created):
    pod = created("pods", {"containers": [CONTAINER], "schedulingGates": [{"name": "wait"}]})
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"


def test_a_deployment(created):
    spec = created("deployments.apps", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert spec["template"]["spec"]["containers"] == [FILLED]
    assert "enableServiceLinks" not in spec["template"]["spec"]


def test_a_replication_controller_selects_by_the_labels_of_its_template(created):
    rc = created("replicationcontrollers", {"template": TEMPLATE})
    assert rc["spec"]["selector"] == rc["metadata"]["labels"] == {"a": "b"}


def test_claims_of_a_stateful_set(created):
    claims = [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE, "volumeClaimTemplates": claims}
    claim = created("statefulsets.apps", spec)["spec"]["volumeClaimTemplates"][0]
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert claim["spec"]["volumeMode"] == "Filesystem"
    assert claim["status"] == {"phase": "Pending"}


def test_a_job_finds_its_own_pods(created):
    job = created("jobs.batch", {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}})
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/controller-uid"] == labels["controller-uid"] == "u-1"
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "x"
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)


def test_a_work_queue_job_has_no_number_of_completions(created):
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    assert "completions" not in created("jobs.batch", {"parallelism": 3, "template": template})["spec"]


def test_a_service(created):
    spec = created("services", {"selector": {"a": "b"}, "ports": [{"port": 80}]})["spec"]
    assert spec == {
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"a": "b"},
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }


def test_what_was_allocated_to_a_service_stays_when_an_update_leaves_it_out(created, updated):
    old = created("services", {"type": "NodePort", "ports": [{"port": 80}]})
    old["spec"].update(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"])
    old["spec"]["ports"][0]["nodePort"] = 30001
    new = created("services", {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "b"}]})
    spec = updated("services", old, new)["spec"]
    assert spec["clusterIP"] == "10.0.0.1"
    assert [p.get("nodePort") for p in spec["ports"]] == [30001, None]


def test_node_ports_go_when_the_service_is_no_longer_of_that_type(created, updated):
    old = created("services", {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]})
    new = {**old, "spec": {**old["spec"], "type": "ClusterIP"}}
    spec = updated("services", old, new)["spec"]
    assert "nodePort" not in spec["ports"][0]
    assert "externalTrafficPolicy" not in spec


def test_plain_secret_data_is_encoded_and_wins(created):
    secret = created("secrets", data={"a": "eA==", "b": "eQ=="}, stringData={"a": "b"})
    assert secret["data"] == {"a": "Yg==", "b": "eQ=="}
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"


def test_a_namespace_is_active_and_waits_for_its_content(created):
    namespace = created("namespaces", metadata={"namespace": ""})
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert namespace["status"] == {"phase": "Active"}
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}


def test_a_network_policy_is_about_egress_when_it_has_rules_for_it(created):
    assert created("networkpolicies.networking.k8s.io", {})["spec"]["policyTypes"] == ["Ingress"]
    both = created("networkpolicies.networking.k8s.io", {"egress": [{"ports": [{"port": 53}]}]})["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]
    assert both["egress"][0]["ports"][0]["protocol"] == "TCP"


def test_a_role_binding_names_the_group_of_users_but_not_of_accounts(created):
    binding = created(
        "rolebindings.rbac.authorization.k8s.io",
        roleRef={"kind": "Role", "name": "r"},
        subjects=[{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    )
    assert binding["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert [s.get("apiGroup") for s in binding["subjects"]] == ["rbac.authorization.k8s.io", None]


def test_the_main_resource_does_not_change_the_status(created, updated):
    old = created("deployments.apps", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})
    old["status"] = {"replicas": 3}
    new = updated("deployments.apps", old, {**old, "status": {"replicas": 9}})
    assert new["status"] == {"replicas": 3}

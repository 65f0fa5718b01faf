"""Hashes in names."""

import copy

from kcore.api.codec import fields
from kcore.controller import spew
from kcore.controller.hashing import fnv1, fnv1a, revision_hash, safe_encode, template_hash
from kcore.controller.revisions import data_of
from kcore.controller.spew import pod_template

TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "image": "img:1",
                "imagePullPolicy": "IfNotPresent",
                "name": "c",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    },
}


def test_a_revision_has_the_name_that_kubernetes_gives_it() -> None:
    assert revision_hash(data_of(TEMPLATE), 0) == "7cdf78768d"


def test_a_template_has_the_hash_that_kubernetes_gives_it() -> None:
    assert template_hash(TEMPLATE) == "c8ccff57"
    other = copy.deepcopy(TEMPLATE)
    other["spec"]["containers"][0]["image"] = "img:2"
    assert template_hash(other) == "5fd8d4bf7d"


def test_everything_in_a_template_counts() -> None:
    container = {
        "name": "c",
        "image": "i",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
        "env": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "v", "rbd": {"image": "x"}}, {"name": "w", "emptyDir": {"sizeLimit": "1.5Gi"}}],
        "affinity": {"nodeAffinity": {}},
    }
    text = pod_template({"metadata": {"labels": {"b": "1", "a": "2"}}, "spec": spec})
    for part in (
        "Labels:(map[string]string)map[a:2 b:1] ",
        "Ports:([]v1.ContainerPort)[{Name:(string) HostPort:(int32)0 ContainerPort:(int32)80 Protocol:(v1.Protocol) ",
        "cpu:{i:(resource.int64Amount){value:(int64)100 scale:(resource.Scale)-3} ",
        "memory:{i:(resource.int64Amount){value:(int64)1073741824 scale:(resource.Scale)0} ",
        "LivenessProbe:(*v1.Probe){ProbeHandler:(v1.ProbeHandler){Exec:(*v1.ExecAction)<nil> ",
        "Port:(intstr.IntOrString){Type:(intstr.Type)1 IntVal:(int32)0 StrVal:(string)http} ",
        "SecretKeyRef:(*v1.SecretKeySelector){LocalObjectReference:(v1.LocalObjectReference){Name:(string)s} Key:(str",
        'RBD:(*v1.RBDVolumeSource){"image":"x"} ',
        "Affinity:(*v1.Affinity){NodeAffinity:(*v1.NodeAffinity){Required",
    ):
        assert part in text


def test_fnv_gives_its_published_values() -> None:
    assert (fnv1(b""), fnv1a(b"")) == (0x811C9DC5, 0x811C9DC5)
    assert (fnv1(b"foobar"), fnv1a(b"foobar")) == (0x31F0B262, 0xBF9CF968)


def test_a_collision_gives_another_name() -> None:
    names = {template_hash(TEMPLATE), template_hash(TEMPLATE, 1), template_hash(TEMPLATE, 2)}
    assert len(names) == 3
    assert not set("".join(names)) & set("aeiou013")
    assert safe_encode(0) == "4"


def members(message: str) -> set[str]:
    """The JSON names of a message's fields, with those of what is inline."""
    found: set[str] = set()
    for field in fields.message(message) or ():
        found |= members(field.type) if field.inline else {field.name}
    return found


def test_every_struct_of_a_template_is_complete() -> None:
    structs = spew.structs()

    def written(name: str) -> set[str]:
        found: set[str] = set()
        for field in structs[name]:
            found |= {field.json} if field.json else written(field.type)
        return found

    meta = {"ObjectMeta", "OwnerReference", "LabelSelector", "LabelSelectorRequirement"}
    for name in structs:
        package = fields.META if name in meta else "k8s.io.api.core.v1."
        assert written(name) == members(package + name), name

"""Hashes in names."""

from kcore.controller.hashing import fnv1, fnv1a, revision_hash, safe_encode, template_hash
from kcore.controller.revisions import data_of

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


def test_fnv_gives_its_published_values() -> None:
    assert (fnv1(b""), fnv1a(b"")) == (0x811C9DC5, 0x811C9DC5)
    assert (fnv1(b"foobar"), fnv1a(b"foobar")) == (0x31F0B262, 0xBF9CF968)


def test_a_collision_gives_another_name() -> None:
    names = {template_hash(TEMPLATE), template_hash(TEMPLATE, 1), template_hash(TEMPLATE, 2)}
    assert len(names) == 3
    assert not set("".join(names)) & set("aeiou013")
    assert safe_encode(0) == "4"

"""The schema bundle: shapes of definitions, as validation and patching need them."""

from __future__ import annotations

import pytest
from kcore_kinds import _extract, bundle
from kcore_kinds.enums import ENUMS

from kcore.errors import KcoreError

CORE = "io.k8s.api.core.v1."


def test_a_definition_is_one_node_however_it_is_reached():
    pod = bundle.schema(CORE + "Pod")
    assert pod.properties["spec"] is bundle.schema(CORE + "PodSpec")
    assert bundle.schema(CORE + "Pod") is pod


def test_definitions_may_refer_to_themselves():
    props = bundle.schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert props.properties["not"] is props


def test_lists_say_how_they_merge():
    containers = bundle.schema(CORE + "PodSpec").properties["containers"]
    assert (containers.list_type, containers.list_map_keys) == ("map", ("name",))
    assert (containers.patch_strategy, containers.patch_merge_key) == (frozenset({"merge"}), "name")


def test_a_field_may_add_to_what_it_refers_to():
    strategy = bundle.schema("io.k8s.api.apps.v1.DeploymentSpec").properties["strategy"]
    assert strategy.patch_strategy == frozenset({"retainKeys"})
    assert strategy.properties is bundle.schema("io.k8s.api.apps.v1.DeploymentStrategy").properties


def test_upstream_scalars_have_types_of_their_own():
    port = bundle.schema(CORE + "HTTPGetAction").properties["port"]
    cpu = bundle.schema(CORE + "ResourceRequirements").properties["limits"].values
    raw = bundle.schema("io.k8s.api.apps.v1.ControllerRevision").properties["data"]
    created = bundle.schema("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").properties["creationTimestamp"]
    assert port.type == "int-or-string"
    assert cpu is not None
    assert cpu.type == "quantity"
    assert (raw.embedded, raw.preserve_unknown) == (True, True)
    assert (created.type, created.format) == ("string", "date-time")


def test_openapi_gets_refs_names_and_descriptions():
    raw = bundle.raw(CORE + "Pod")
    assert raw["properties"]["spec"]["$ref"] == "#/components/schemas/io.k8s.api.core.v1.PodSpec"
    assert bundle.raw(CORE + "PodSpec")["required"] == ["containers"]
    assert "description" not in raw
    assert "desired behavior" in bundle.docs(CORE + "Pod")["spec"]
    assert bundle.gvk(CORE + "Pod") == ("", "v1", "Pod")
    assert bundle.gvk(CORE + "PodSpec") is None


def test_what_a_caller_does_to_a_raw_definition_stays_with_the_caller():
    bundle.raw(CORE + "Pod")["properties"].clear()
    assert bundle.raw(CORE + "Pod")["properties"]


def test_an_unknown_definition_is_an_error_that_names_it():
    with pytest.raises(KcoreError, match=r"no definition 'io\.k8s\.nope'"):
        bundle.schema("io.k8s.nope")


def test_the_bundle_is_written_from_a_release_as_the_package_has_it(tmp_path):
    release = tmp_path / "v1.99.0-local"
    release.mkdir()
    (release / "_definitions.json").write_text(
        '{"$defs": {"x.Kind": {"type": ["object", "null"], "description": "What.", "properties": '
        '{"$ref": {"type": ["string", "null"], "description": "Ref."}, "y": {"$ref": "#/$defs/x.Y"}}}}}'
    )
    _extract.write(tmp_path, release)
    import json
    import zlib

    schemas = json.loads(zlib.decompress((tmp_path / _extract.SCHEMAS).read_bytes()))
    docs = json.loads(zlib.decompress((tmp_path / _extract.DOCS).read_bytes()))
    assert schemas["version"] == "1.99.0"
    assert schemas["definitions"]["x.Kind"]["properties"] == {"$ref": {"type": "string"}, "y": {"$ref": "x.Y"}}
    assert docs == {"x.Kind": {"": "What.", "$ref": "Ref."}}


def test_every_list_of_values_is_of_a_member_that_there_is():
    for name, members in ENUMS.items():
        properties = bundle.raw(name)["properties"]
        for member, values in members.items():
            assert properties[member]["type"] == "string"
            assert properties[member]["enum"] == sorted(values)

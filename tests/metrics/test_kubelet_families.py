"""A kubelet exposes every series that the usual dashboards and alerts of kubelets and cAdvisor read."""

from __future__ import annotations

import re

from kcore.objects import Object
from kcore.objects.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES

from .conftest import Kubelets, pod

KUBELET = """
go_goroutines process_cpu_seconds_total process_resident_memory_bytes kubernetes_build_info
kubelet_node_name kubelet_node_config_error kubelet_evictions
kubelet_running_pods kubelet_running_containers
kubelet_pod_start_duration_seconds_bucket kubelet_pod_start_duration_seconds_count
kubelet_pod_worker_duration_seconds_bucket kubelet_pod_worker_duration_seconds_count
kubelet_pleg_relist_duration_seconds_bucket kubelet_pleg_relist_duration_seconds_count
kubelet_pleg_relist_interval_seconds_bucket
kubelet_cgroup_manager_duration_seconds_bucket kubelet_cgroup_manager_duration_seconds_count
kubelet_runtime_operations_total kubelet_runtime_operations_errors_total
kubelet_runtime_operations_duration_seconds_bucket
kubelet_certificate_manager_client_ttl_seconds kubelet_certificate_manager_client_expiration_renew_errors
kubelet_certificate_manager_server_ttl_seconds kubelet_server_expiration_renew_errors
kubelet_volume_stats_capacity_bytes kubelet_volume_stats_available_bytes kubelet_volume_stats_used_bytes
kubelet_volume_stats_inodes kubelet_volume_stats_inodes_free kubelet_volume_stats_inodes_used
storage_operation_duration_seconds_bucket storage_operation_duration_seconds_count
volume_manager_total_volumes
rest_client_requests_total rest_client_request_duration_seconds_bucket
"""
COUNTERS_OF_TROUBLE = {"storage_operation_errors_total"}  # has series only when something has gone wrong
CONTAINER = """
container_cpu_usage_seconds_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
container_memory_working_set_bytes container_memory_rss container_memory_cache container_memory_swap
container_fs_reads_total container_fs_reads_bytes_total container_fs_writes_total container_fs_writes_bytes_total
"""
NETWORK = """
container_network_receive_bytes_total container_network_transmit_bytes_total
container_network_receive_packets_total container_network_transmit_packets_total
container_network_receive_packets_dropped_total container_network_transmit_packets_dropped_total
"""


def series(text: str) -> dict[str, list[dict[str, str]]]:
    """The labels of all samples by the name of their series."""
    found: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            assert match is not None, line
            float(match[3])
            found.setdefault(match[1], []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")))
    return found


async def with_claim(world: Kubelets) -> Object:
    """A pod with a bound claim."""
    volume = {
        "metadata": {"name": "v"},
        "spec": {"hostPath": {"path": str(world.context.data_dir / "v"), "type": "DirectoryOrCreate"}},
    }
    await world.client.create(PERSISTENTVOLUMES, volume)
    claim = {"metadata": {"name": "data"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    await world.client.create(PERSISTENTVOLUMECLAIMS, claim, "default")
    return pod("a", "node-1", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])


async def test_a_kubelet_tells_all_that_dashboards_read_of_it(world: Kubelets) -> None:
    await world.run(await with_claim(world))
    text = (await world.kubelet("node-1", "/metrics", token="token-of-prometheus")).body.decode()
    found = series(text)
    assert [n for n in KUBELET.split() if n not in found] == []
    for name in COUNTERS_OF_TROUBLE:
        assert f"# TYPE {name} counter" in text
    assert found["kubelet_node_name"] == [{"node": "node-1"}]
    assert {"container_state": "running"} in found["kubelet_running_containers"]
    assert {"namespace": "default", "persistentvolumeclaim": "data"} in found["kubelet_volume_stats_used_bytes"]
    assert {"operation_type", "le"} <= set(found["kubelet_pod_worker_duration_seconds_bucket"][0])
    assert {"verb", "le"} <= set(found["rest_client_request_duration_seconds_bucket"][0])
    assert {"plugin_name", "state"} <= set(found["volume_manager_total_volumes"][0])


async def test_cadvisor_tells_all_that_dashboards_read_of_containers(world: Kubelets) -> None:
    limited = pod("a", "node-1")
    limited["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "500m"}}  # others are not throttled
    await world.run(limited)
    answer = await world.kubelet("node-1", "/metrics/cadvisor", token="token-of-prometheus")
    found = series(answer.body.decode())
    for name in CONTAINER.split():
        of_app = [s for s in found[name] if s["container"] == "app"]
        assert of_app, name
        # dashboards leave out what has no image, and join by these
        assert of_app[0].items() >= {"namespace": "default", "pod": "a", "image": "app:1"}.items()
    for name in CONTAINER.split():
        if name.startswith("container_fs_"):
            assert all(re.match(r"(/dev/)?(sd|vd|xvd|nvme|mmcblk.p|dm-|md)", s["device"]) for s in found[name])
    for name in NETWORK.split():
        of_pods = [(s["namespace"], s["pod"], s["interface"]) for s in found[name] if s["pod"]]
        assert of_pods == [("default", "a", "eth0")], name


async def test_no_series_is_told_twice(world: Kubelets) -> None:
    await world.run(pod("a", "node-1"), pod("b", "node-1"))
    for path in ("/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes"):
        answer = await world.kubelet("node-1", path, token="token-of-prometheus")
        assert answer.status == 200
        lines = [line.rpartition(" ")[0] for line in answer.body.decode().splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines)), path
        families = re.findall(r"^# TYPE (\S+)", answer.body.decode(), re.MULTILINE)
        assert len(families) == len(set(families)), path

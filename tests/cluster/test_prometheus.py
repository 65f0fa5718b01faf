"""Monitoring as for any Kubernetes cluster: every target is found by ``kubernetes_sd_configs``, and scraped.

Debian's Prometheus is built without service discovery by Kubernetes, so VictoriaMetrics, which reads the same scrape
configuration, finds the targets, and Prometheus itself scrapes what was found and answers the queries.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.testing.running import RunningCluster, free_port, running
from kcore.testing.waiting import poll
from tests.needs import needs

PODS, REQUESTS = 2, 25
APP = '{job="kubelet-metrics-cadvisor",namespace="default",container="app"}'

OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: monitoring}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules:
- {apiGroups: [""], resources: [nodes, nodes/metrics, services, endpoints, pods], verbs: [get, list, watch]}
- {nonResourceURLs: [/metrics], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}
subjects:
- {kind: ServiceAccount, name: prometheus, namespace: monitoring}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {prometheus.io/scrape: "true", kcore.dev/cpu: 250m, kcore.dev/memory: 64Mi}
    spec:
      containers:
      - name: app
        image: registry.example/web:1.0
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {cpu: 300m}, limits: {memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8080}]
"""


@attrs.frozen
class Monitor:
    """A Prometheus, or something that speaks as it does."""

    url: str

    def ask(self, path: str, **arguments: str) -> Any:
        query = f"?{urllib.parse.urlencode(arguments)}" if arguments else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=5) as answer:
            return json.load(answer)["data"]

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """The vector that an expression gives now."""
        found = self.ask("query", query=promql)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def value(self, promql: str) -> float:
        """The one number of an expression. Raises LookupError."""
        ((_, value),) = self.query(promql) or [({}, None)]
        if value is None:
            raise LookupError(promql)
        return value

    def targets(self) -> list[dict[str, Any]]:
        active: list[dict[str, Any]] = self.ask("targets", state="active")["activeTargets"]
        return active


KUBELET = ("/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes")


def scrape_jobs(cluster: RunningCluster, home: Path) -> list[dict[str, Any]]:
    """The jobs, for a service account of its own."""
    (home / "token").write_text(cluster.kubectl("create", "token", "prometheus", "-n", "monitoring"))
    ca = cluster.get("configmap", "kube-root-ca.crt", "-n", "monitoring")["data"]["ca.crt"]
    (home / "ca.crt").write_text(ca)
    server = json.loads(cluster.kubectl("config", "view", "-o", "json"))["clusters"][0]["cluster"]["server"]
    bearer = {"type": "Bearer", "credentials_file": str(home / "token")}
    verified = {"authorization": bearer, "tls_config": {"ca_file": str(home / "ca.crt")}}
    unverified = {"scheme": "https", "authorization": bearer, "tls_config": {"insecure_skip_verify": True}}

    def find(role: str) -> list[dict[str, Any]]:
        return [{"api_server": server, "role": role, **verified}]

    def keep(*labels: str, regex: str) -> dict[str, Any]:
        return {"source_labels": [f"__meta_kubernetes_{x}" for x in labels], "regex": regex, "action": "keep"}

    def job(name: str, path: str = "/metrics", *, over: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return {"job_name": name, "metrics_path": path, **(over or {}), **more}

    def static(port: int) -> list[dict[str, Any]]:
        return [{"targets": [f"127.{cluster.slice}.127.254:{port}"]}]

    api = keep("namespace", "service_name", "endpoint_port_name", regex="default;kubernetes;https")
    annotated = keep("pod_annotation_prometheus_io_scrape", regex="true")
    named = {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"}
    web = keep("namespace", "service_name", regex="default;web")
    # By the service's address: its name would need the cluster's DNS.
    source = ["__meta_kubernetes_service_cluster_ip"]
    address = {"source_labels": source, "replacement": "${1}:8080", "target_label": "__address__"}
    return [
        job("apiserver", over=verified, scheme="https")
        | {"kubernetes_sd_configs": find("endpoints"), "relabel_configs": [api]},
        *(
            job(f"kubelet{path.replace('/', '-')}", path, over=unverified, kubernetes_sd_configs=find("node"))
            for path in KUBELET
        ),
        job("pods", kubernetes_sd_configs=find("pod"), relabel_configs=[annotated, named]),
        job("services", kubernetes_sd_configs=find("service"), relabel_configs=[web, address]),
        job("scheduler", over=unverified, static_configs=static(10259)),
        job("controller-manager", over=unverified, static_configs=static(10257)),
        job("proxy", static_configs=static(10249)),
    ]


def found_by(monitor: Monitor, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same jobs, with the targets that `monitor` has found."""
    fixed = []
    for job in jobs:
        targets = [t for t in monitor.targets() if t["labels"]["job"] == job["job_name"]]
        static = [
            {
                "targets": [urllib.parse.urlsplit(t["scrapeUrl"]).netloc],
                "labels": {k: v for k, v in t["labels"].items() if k != "job"},
            }
            for t in targets
        ]
        kept = {k: v for k, v in job.items() if k not in ("kubernetes_sd_configs", "relabel_configs")}
        fixed.append(kept | {"static_configs": static})
    return fixed


@contextmanager
def started(home: Path, jobs: list[dict[str, Any]], *command: str, listen: str) -> Iterator[Monitor]:
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (home / "scrape.yml").write_text(json.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    with (home / "log").open("w") as log:
        process = subprocess.Popen([*command, f"{listen}={address}"], stdout=log, stderr=log)
    monitor = Monitor(f"http://{address}")
    try:
        assert poll(lambda: _answers(monitor), seconds=20), (home / "log").read_text()
        yield monitor
    finally:
        process.terminate()
        process.wait(10)


def _answers(monitor: Monitor) -> bool:
    try:
        return bool(monitor.ask("targets"))
    except OSError:
        return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    needs("prometheus", "victoria-metrics")
    with running("memory") as cluster:
        cluster.kubectl("apply", "-f", "-", input=OBJECTS)
        cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
        ip = cluster.get("service", "web")["spec"]["clusterIP"]
        for _ in range(REQUESTS):
            urllib.request.urlopen(f"http://{ip}:8080/", timeout=5).close()
        yield cluster


@pytest.fixture(scope="module")
def jobs(cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return scrape_jobs(cluster, tmp_path_factory.mktemp("account"))


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory, jobs: list[dict[str, Any]]) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("finder")
    command = ("victoria-metrics", f"-promscrape.config={home}/scrape.yml", f"-storageDataPath={home}/data")
    quick = "-promscrape.kubernetesSDCheckInterval=1s"
    with started(home, jobs, *command, quick, listen="-httpListenAddr") as monitor:
        yield monitor


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, finder: Monitor, jobs: list[dict[str, Any]]
) -> Iterator[Monitor]:
    assert poll(lambda: not problems(finder)), problems(finder)
    home = tmp_path_factory.mktemp("prometheus")
    command = ("prometheus", f"--config.file={home}/scrape.yml", f"--storage.tsdb.path={home}/data")
    with started(home, found_by(finder, jobs), *command, listen="--web.listen-address") as monitor:
        yield monitor


def problems(monitor: Monitor) -> list[str]:
    """What is missing, and what cannot be scraped."""
    wanted = {"apiserver": 1, "scheduler": 1, "controller-manager": 1, "proxy": 1, "pods": PODS, "services": 1}
    wanted |= {f"kubelet{path.replace('/', '-')}": 3 for path in KUBELET}
    targets = monitor.targets()
    found = [t["labels"]["job"] for t in targets]
    missing = [f"{job}: {found.count(job)} of {n}" for job, n in wanted.items() if found.count(job) != n]
    return missing + [f"{t['scrapeUrl']}: {t['health']} {t['lastError']}" for t in targets if t["health"] != "up"]


def test_every_target_is_discovered_and_up(finder: Monitor) -> None:
    assert poll(lambda: not problems(finder)), problems(finder)


def test_prometheus_can_scrape_all_of_them(prometheus: Monitor) -> None:
    assert poll(lambda: not problems(prometheus)), problems(prometheus)


@pytest.mark.parametrize(
    ("promql", "value"),
    [
        (f"count(container_memory_working_set_bytes{APP})", PODS),
        (f"count by (namespace) (container_cpu_usage_seconds_total{APP})", PODS),
        (f"sum(container_memory_working_set_bytes{APP})", PODS * 64 * 2**20),
        (f"max(container_spec_memory_limit_bytes{APP})", 128 * 2**20),
        ('sum(pod_memory_working_set_bytes{namespace="default"})', PODS * 64 * 2**20),
        ("sum(kubelet_running_pods)", PODS),
        ('sum(kubelet_node_name{node!=""})', 3),
        ('sum(http_requests_total{job="pods",path="/"})', REQUESTS),
        ('count(apiserver_request_total{resource="deployments",verb="POST",code="201"})', 1),
        ('sum(scheduler_schedule_attempts_total{result="scheduled"})', PODS),
        ("max(scheduler_pending_pods)", 0),
        ('count(up{job="kubelet-metrics"} == 1)', 3),
        ('max(workqueue_depth{job="controller-manager"})', 0),
        ('kubeproxy_sync_proxy_rules_duration_seconds_count{job="proxy"} > bool 0', 1),
    ],
)
def test_queries_give_the_right_numbers(prometheus: Monitor, promql: str, value: float) -> None:
    assert poll(lambda: prometheus.value(promql) == value, seconds=15), prometheus.query(promql)


def test_the_rate_of_cpu_use_is_what_the_pods_say_they_use(prometheus: Monitor) -> None:
    use = f"sum(rate(container_cpu_usage_seconds_total{APP}[10s]))"
    wanted = pytest.approx(PODS * 0.25, rel=0.05)
    assert poll(lambda: prometheus.value(use) == wanted, seconds=20), prometheus.query(use)


def test_a_new_pod_is_found_and_a_deleted_one_is_forgotten(cluster: RunningCluster, finder: Monitor) -> None:
    def scraped() -> list[str]:
        return [t["health"] for t in finder.targets() if t["labels"].get("pod") == "extra"]

    annotations = json.dumps({"metadata": {"annotations": {"prometheus.io/scrape": "true"}}})
    cluster.kubectl("run", "extra", "--image=nginx", "--port=9090", f"--overrides={annotations}")
    assert poll(lambda: scraped() == ["up"], seconds=20)
    cluster.kubectl("delete", "pod", "extra")
    assert poll(lambda: not scraped(), seconds=20)


def test_without_the_role_prometheus_is_refused(cluster: RunningCluster) -> None:
    token = cluster.kubectl("create", "token", "default")
    node = cluster.get("node", "node-1")
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    own = f"127.{cluster.slice}.127.254"
    codes = [
        _code(f"https://{address}:{port}/metrics", token),
        _code(f"https://{own}:10259/metrics", token),
        _code(f"https://{own}:10257/metrics", "not-a-token"),
    ]
    assert codes == [403, 403, 401]


def _code(url: str, token: str) -> int:
    import ssl
    import urllib.error

    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5, context=unverified) as answer:
            code: int = answer.status
            return code
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code

"""kubectl create, run and expose; get in all its forms."""

from __future__ import annotations

import base64
import json
import re

import yaml

from .conftest import MANIFESTS, Kubectl

NAME = r"web-[a-z0-9]{6,10}-[a-z0-9]{5}"


def columns(table: str) -> list[list[str]]:
    """A printed table's rows, the header first."""
    return [re.split(r" {2,}", line.rstrip()) for line in table.splitlines()]


def test_a_deployment_is_created_and_listed_in_every_format(kubectl: Kubectl) -> None:
    said = kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2", "--port=8080")
    assert said == "deployment.apps/web created\n"
    assert kubectl("rollout", "status", "deploy/web").endswith('deployment "web" successfully rolled out\n')
    header, row = columns(kubectl("get", "deployments"))
    assert header == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row[:4] == ["web", "2/2", "2", "2"]
    header, row = columns(kubectl("get", "deploy", "web", "-o", "wide"))
    assert header[5:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert row[5:] == ["nginx", "nginx:1", "app=web"]
    header, *rows = columns(kubectl("get", "pods", "-o", "wide"))
    assert header == [
        "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES",
    ]  # fmt: skip
    for row in rows:
        assert re.fullmatch(NAME, row[0])
        assert row[1:4] == ["1/1", "Running", "0"]
        assert row[5].startswith("127.")
        assert row[6].startswith("node-")
    shown = yaml.safe_load(kubectl("get", "deploy", "web", "-o", "yaml"))
    assert shown == json.loads(kubectl("get", "deploy", "web", "-o", "json"))
    assert shown["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert "managedFields" not in shown["metadata"]
    path = "{.spec.replicas}/{.status.readyReplicas} {.spec.template.spec.containers[*].image}"
    assert kubectl("get", "deploy/web", "-o", f"jsonpath={path}") == "2/2 nginx:1"
    custom = kubectl("get", "deploy", "-o", "custom-columns=N:.metadata.name,I:..image")
    assert columns(custom) == [["N", "I"], ["web", "nginx:1"]]
    assert kubectl("get", "deploy", "-o", "go-template={{range .items}}{{.metadata.name}}{{end}}") == "web"
    assert kubectl("get", "deploy", "-o", "name") == "deployment.apps/web\n"
    assert kubectl("get", "deploy", "--no-headers").split()[0] == "web"


def test_get_selects_by_labels_fields_and_namespace_and_sorts(kubectl: Kubectl) -> None:
    for name, labels in (("b", "tier=back,x=1"), ("a", "tier=front"), ("c", "tier=back")):
        kubectl("run", name, "--image=busybox", f"--labels={labels}", "--", "sleep", "1000")
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=20s")
    names = ("-o", "name")
    assert kubectl("get", "pods", "-l", "tier=back", *names) == "pod/b\npod/c\n"
    assert kubectl("get", "pods", "-l", "tier in (front),x!=1", *names) == "pod/a\n"
    assert kubectl("get", "pods", "-l", "!x", "--field-selector", "metadata.name!=a", *names) == "pod/c\n"
    assert kubectl("get", "pods", "--field-selector", "status.phase=Pending").strip() == ""
    node = kubectl("get", "pod", "a", "-o", "jsonpath={.spec.nodeName}")
    assert "pod/a" in kubectl("get", "pods", "--field-selector", f"spec.nodeName={node}", *names)
    assert kubectl("get", "pods", "--sort-by=.metadata.labels.tier", *names) == "pod/b\npod/c\npod/a\n"
    by_age = columns(kubectl("get", "pods", "--sort-by=.metadata.creationTimestamp"))
    assert sorted(row[0] for row in by_age[1:]) == ["a", "b", "c"]
    everywhere = columns(kubectl("get", "pods", "-A"))
    assert everywhere[0][0] == "NAMESPACE"
    assert [kubectl.namespace, "a"] in [row[:2] for row in everywhere]
    assert columns(kubectl("get", "pods", "-L", "tier"))[1][-1] == "front"
    assert columns(kubectl("get", "pods", "a", "--show-labels"))[1][-1] == "tier=front"
    assert 'pods "none" not found' in kubectl.error("get", "pod", "none")
    assert kubectl.error("get", "nonsense") == 'error: the server doesn\'t have a resource type "nonsense"'
    assert (
        kubectl.run("get", "pods", "-l", "no=such").stderr == f"No resources found in {kubectl.namespace} namespace.\n"
    )


def test_get_pages_through_a_long_list(kubectl: Kubectl) -> None:
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{i}"}} for i in range(7)]
    kubectl("create", "-f", kubectl.file(*maps))
    shown = kubectl("get", "configmaps", "--chunk-size=2", "-o", "name").split()
    assert [f"configmap/m{i}" for i in range(7)] == [n for n in shown if n.startswith("configmap/m")]


def test_a_watch_shows_what_happens(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    with kubectl.background("get", "pods", "-w", "--output-watch-events") as watch:
        said = watch.until(lambda said: re.search(r"ADDED +one +1/1 +Running", said))
        assert re.search(r"EVENT +NAME +READY", said)
        kubectl("run", "two", "--image=busybox", "--", "sleep", "1000")
        watch.until(lambda said: re.search(r"(ADDED|MODIFIED) +two +1/1 +Running", said))
        kubectl("label", "pod", "one", "a=b")
        watch.until(lambda said: re.search(r"MODIFIED +one +1/1 +Running", said))
        kubectl("delete", "pod", "one", "--now")
        watch.until(lambda said: re.search(r"DELETED +one", said))


def test_wait_sees_conditions_fields_and_deletion(kubectl: Kubectl) -> None:
    kubectl("run", "one", "--image=busybox", "--", "sleep", "1000")
    assert kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=20s") == "pod/one condition met\n"
    assert kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/one") == "pod/one condition met\n"
    with kubectl.background("wait", "--for=delete", "pod/one", "--timeout=20s") as waiting:
        kubectl("delete", "pod", "one", "--now")
        assert waiting.process.wait(20) == 0
        assert waiting.said() in ("pod/one condition met\n", "")  # the latter if it was gone before kubectl looked
    assert "timed out waiting" in kubectl.error("wait", "--for=create", "pod/never", "--timeout=100ms")


def test_every_creator_makes_its_kind(kubectl: Kubectl) -> None:
    said = [
        kubectl("create", *arguments.split())
        for arguments in (
            "configmap cm --from-literal=a=b",
            "secret generic s --from-literal=p=q",
            "secret docker-registry d --docker-username=a --docker-password=b",
            "serviceaccount sa",
            "role r --verb=get,list --resource=pods,pods/log",
            "rolebinding rb --role=r --serviceaccount=x:sa",
            "quota q --hard=pods=100",
            "pdb p --selector=app=web --min-available=1",
            "ingress i --rule=a.example/*=web:80",
            "service clusterip c --tcp=80:8080",
            "service nodeport n --tcp=80",
            "service externalname e --external-name=a.example",
            "service loadbalancer l --tcp=80",
            "cronjob cj --image=busybox --schedule=*/5 -- date".replace("*/5", "@hourly"),
            "job j --image=busybox -- echo done",
        )
    ]
    assert said == [
        f"{name} created\n"
        for name in (
            "configmap/cm", "secret/s", "secret/d", "serviceaccount/sa", "role.rbac.authorization.k8s.io/r",
            "rolebinding.rbac.authorization.k8s.io/rb", "resourcequota/q", "poddisruptionbudget.policy/p",
            "ingress.networking.k8s.io/i", "service/c", "service/n", "service/e", "service/l",
            "cronjob.batch/cj", "job.batch/j",
        )
    ]  # fmt: skip
    assert kubectl("create", "job", "j2", "--from=cronjob/cj") == "job.batch/j2 created\n"
    kubectl("wait", "--for=condition=Complete", "job/j", "--timeout=20s")
    assert kubectl("logs", "job/j") == "done\n"
    _, *services = columns(kubectl("get", "services"))
    assert [row[:2] for row in services] == [
        ["c", "ClusterIP"], ["e", "ExternalName"], ["l", "LoadBalancer"], ["n", "NodePort"],
    ]  # fmt: skip
    assert services[1][2:5] == ["<none>", "a.example", "<none>"]
    assert services[2][3] == "<pending>"
    assert re.fullmatch(r"80:\d+/TCP", services[3][4])
    assert columns(kubectl("get", "job", "j"))[1][:3] == ["j", "Complete", "1/1"]
    again = kubectl.error("create", "configmap", "cm")
    assert again == 'error: failed to create configmap: configmaps "cm" already exists'


def test_run_waits_for_the_command_and_passes_its_exit_code_on(kubectl: Kubectl) -> None:
    done = kubectl.run(
        "run", "t", "--rm", "-i", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo hi; exit 4"
    )
    assert done.returncode == 4
    assert "hi\n" in done.stdout
    assert f'pod "t" deleted from {kubectl.namespace} namespace' in done.stdout


def test_an_exposed_deployment_gets_a_service_with_its_pods_behind(kubectl: Kubectl) -> None:
    kubectl.deployment("web")
    assert kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080") == "service/web exposed\n"
    addresses = kubectl("get", "pods", "-o", "jsonpath={.items[*].status.podIP}").split()
    kubectl("wait", "--for=jsonpath={.endpoints}", "endpointslice", "-l", "kubernetes.io/service-name=web")
    described = kubectl("describe", "service", "web")
    assert re.search(r"Type: +ClusterIP\n", described)
    assert re.search(r"Port: +<unset> +80/TCP\n", described)
    for address in addresses:
        assert f"{address}:8080" in described


def signing_request(name: str) -> str:
    """A PKCS #10 request for a user's certificate, as the API wants it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def test_every_kind_can_be_listed_and_described(kubectl: Kubectl) -> None:
    """With an object of (almost) each kind, written by hand or by a controller."""
    manifest = (MANIFESTS / "one-of-each.yaml").read_text().replace("REQUEST", signing_request("jane"))
    try:
        said = kubectl("create", "-f", "-", input=manifest)
        assert said.count(" created\n") == manifest.count("\nkind: ")
        kubectl.deployment("web", replicas=1)
        listed = kubectl("api-resources", "--verbs=list", "-o", "name").split()
        assert len(listed) > 50
        assert {"pods", "deployments.apps", "cronjobs.batch"} <= set(listed)
        readable = ",".join(name for name in listed if name != "componentstatuses" and "metrics.k8s.io" not in name)
        done = kubectl.run("get", readable, "-o", "wide")
        assert done.returncode == 0, done.stderr
        done = kubectl.run("describe", readable)
        assert done.returncode == 0, done.stderr
        for line in (
            r"Name: +node-1$",
            r"Container +cpu +- +2 +100m +500m +-$",  # the limit range
            r"Description: +for tests$",  # the priority class
            r"        CIDR: 192\.0\.2\.0/24$",
            r" +Server: +nfs\.example$",
            r" +Common Name: +jane$",
            r"  resource cpu on pods  \(as a percentage of request\): +<unknown> / 50%$",
            r"TLS:$",
            r"Time Zone: +Europe/Berlin$",
            r"  deployments\.apps +\[\] +\[a\] +\[get\]$",
        ):
            assert re.search(line, done.stdout, re.MULTILINE), line
        approved = kubectl("certificate", "approve", "one-of-each")
        assert approved == "certificatesigningrequest.certificates.k8s.io/one-of-each approved\n"
        issued = "--for=jsonpath={.status.certificate}"
        kubectl("wait", issued, "csr/one-of-each", "--timeout=20s")
        assert "Approved,Issued" in kubectl("get", "csr", "one-of-each")
    finally:
        kubectl.run("delete", "-f", "-", "--ignore-not-found", "--wait=false", input=manifest)

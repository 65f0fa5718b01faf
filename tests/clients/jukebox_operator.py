"""A kopf operator with a kind of its own, for the tests: a Tune is played by a ConfigMap, timed, watched and admitted.

Run by ``kopf run``; the admission server listens on loopback at
``JUKEBOX_PORT`` with the certificate of the directory ``JUKEBOX_KEYS``.
"""

from __future__ import annotations

import os
from typing import Any

import kopf
import kubernetes

TUNES = ("jukebox.example.com", "v1", "tunes")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    here = os.environ["JUKEBOX_KEYS"]
    settings.admission.server = kopf.WebhookServer(
        host="127.0.0.1",
        addr="127.0.0.1",
        port=int(os.environ["JUKEBOX_PORT"]),
        cafile=f"{here}/ca.pem",
        certfile=f"{here}/server.pem",
        pkeyfile=f"{here}/server-key.pem",
    )
    settings.admission.managed = "auto.jukebox.example.com"
    settings.persistence.finalizer = "jukebox.example.com/stylus"


@kopf.on.validate(*TUNES, id="no-silence")
def no_silence(spec: kopf.Spec, warnings: list[str], **_: Any) -> None:
    if spec.get("title") == "silence":
        raise kopf.AdmissionError("silence is no tune", code=499)
    if spec.get("seconds", 0) > 600:
        warnings.append("a long tune")


@kopf.on.mutate(*TUNES, id="default-artist")
def default_artist(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    if "artist" not in spec:
        patch.spec["artist"] = "unknown"


@kopf.on.create(*TUNES)
def created(body: kopf.Body, name: str, namespace: str, spec: kopf.Spec, **_: Any) -> dict[str, str]:
    made = {"metadata": {"name": name}, "data": {"title": spec["title"], "artist": spec["artist"]}}
    kopf.adopt(made)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, made)
    kopf.info(body, reason="Playing", message=f"on the turntable: {spec['title']}")
    return {"config-map": name}


@kopf.on.field(*TUNES, field="spec.title")
def retitled(old: str | None, new: str, name: str, namespace: str, **_: Any) -> None:
    if old is not None:
        body = {"data": {"title": new}}
        kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, body)


@kopf.on.delete(*TUNES)
def deleted(name: str, namespace: str, **_: Any) -> None:
    body = {"metadata": {"name": f"{name}-was-here"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)


@kopf.timer(*TUNES, interval=0.3)
def played(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    if status.get("plays", 0) < 3:
        patch.status["plays"] = status.get("plays", 0) + 1


@kopf.daemon(*TUNES)
async def turning(stopped: kopf.DaemonStopped, logger: kopf.Logger, **_: Any) -> None:
    logger.info("turning")
    await stopped.wait()
    logger.info("stopped turning")

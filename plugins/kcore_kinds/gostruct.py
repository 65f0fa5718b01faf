"""Objects as the API server's own Go structs print: what some of upstream's messages show.

Validation upstream works on *internal* types. They hold what the published ones hold, but carry no JSON names: printed
as JSON, their members go by Go's names, in the order of the struct, with nothing left out. What they embed from
apimachinery (selectors, object metadata, quantities, times) prints as ever.

    go(POD_SPEC, spec)             the tree: {"Volumes": None, "InitContainers": None, ...}
    difference(POD_SPEC, a, b)     a unified diff of two such trees, three lines around each change
"""

from __future__ import annotations

import difflib
import json
from typing import Any

from kcore.api.codec.fields import INT_OR_STRING, META, QUANTITY, Field, message

Object = dict[str, Any]

CORE = "k8s.io.api.core.v1."
POD_SPEC = CORE + "PodSpec"
CLAIM_SPEC = CORE + "PersistentVolumeClaimSpec"
VOLUME_SOURCE = CORE + "PersistentVolumeSource"
TOLERATION, TAINT = CORE + "Toleration", CORE + "Taint"

# Where an internal struct has its members in another order than the published message, by JSON name.
_ORDER = {
    "PodSpec": "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds "
    "activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName automountServiceAccountToken nodeName "
    "securityContext imagePullSecrets hostname subdomain setHostnameAsFQDN affinity schedulerName tolerations "
    "hostAliases priorityClassName priority preemptionPolicy dnsConfig readinessGates runtimeClassName overhead "
    "enableServiceLinks topologySpreadConstraints os schedulingGates resourceClaims resources hostnameOverride",
    "PodSecurityContext": "hostNetwork hostPID hostIPC shareProcessNamespace hostUsers seLinuxOptions windowsOptions "
    "runAsUser runAsGroup runAsNonRoot supplementalGroups supplementalGroupsPolicy fsGroup fsGroupChangePolicy "
    "sysctls seccompProfile appArmorProfile seLinuxChangePolicy",
    "SecurityContext": "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot "
    "readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile",
    "Container": "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy "
    "restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle "
    "terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty",
    "VolumeMount": "name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr",
    "VolumeSource": "hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo secret nfs iscsi glusterfs "
    "persistentVolumeClaim rbd quobyte flexVolume cinder cephfs flocker downwardAPI fc azureFile configMap "
    "vsphereVolume azureDisk photonPersistentDisk projected portworxVolume scaleIO storageos csi ephemeral image",
    "PersistentVolumeSource": "gcePersistentDisk awsElasticBlockStore hostPath glusterfs nfs rbd quobyte iscsi "
    "flexVolume cinder cephfs fc flocker azureFile vsphereVolume azureDisk photonPersistentDisk portworxVolume "
    "scaleIO local storageos csi",
    "ISCSIVolumeSource": "targetPortal iqn lun iscsiInterface fsType readOnly portals chapAuthDiscovery "
    "chapAuthSession secretRef initiatorName",
    "ISCSIPersistentVolumeSource": "targetPortal iqn lun iscsiInterface fsType readOnly portals chapAuthDiscovery "
    "chapAuthSession secretRef initiatorName",
    "PersistentVolumeClaimSpec": "accessModes selector resources volumeName storageClassName volumeMode dataSource "
    "dataSourceRef volumeAttributesClassName",
}
_ORDER["EphemeralContainerCommon"] = _ORDER["Container"]

# Members that an internal struct has in another place, or not at all.
_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
_POINTERS = {"shareProcessNamespace", "hostUsers"}

# JSON names whose Go names are not merely capitalised.
_NAMES = {
    "apiVersion": "APIVersion", "awsElasticBlockStore": "AWSElasticBlockStore", "cephfs": "CephFS",
    "chapAuthDiscovery": "DiscoveryCHAPAuth", "chapAuthSession": "SessionCHAPAuth", "csi": "CSI",
    "diskURI": "DataDiskURI", "dnsConfig": "DNSConfig", "dnsPolicy": "DNSPolicy", "endpoints": "EndpointsName",
    "fc": "FC", "fsGroup": "FSGroup", "fsGroupChangePolicy": "FSGroupChangePolicy", "fsType": "FSType",
    "gcePersistentDisk": "GCEPersistentDisk", "gmsaCredentialSpec": "GMSACredentialSpec",
    "gmsaCredentialSpecName": "GMSACredentialSpecName", "grpc": "GRPC", "httpGet": "HTTPGet",
    "httpHeaders": "HTTPHeaders", "image": "Image", "ip": "IP", "iqn": "IQN", "iscsi": "ISCSI",
    "iscsiInterface": "ISCSIInterface", "monitors": "CephMonitors", "nfs": "NFS", "os": "OS", "pdID": "PdID",
    "pdName": "PDName", "pool": "RBDPool", "rbd": "RBD", "seLinuxChangePolicy": "SELinuxChangePolicy",
    "seLinuxOptions": "SELinuxOptions", "setHostnameAsFQDN": "SetHostnameAsFQDN", "sslEnabled": "SSLEnabled",
    "storageos": "StorageOS", "targetWWNs": "TargetWWNs", "tcpSocket": "TCPSocket", "tty": "TTY", "uid": "UID",
    "user": "User", "wwids": "WWIDs", "scaleIO": "ScaleIO",
}  # fmt: skip
_NAMES_IN = {
    ("RBDVolumeSource", "image"): "RBDImage",
    ("RBDVolumeSource", "user"): "RadosUser",
    ("RBDPersistentVolumeSource", "image"): "RBDImage",
    ("RBDPersistentVolumeSource", "user"): "RadosUser",
    ("CephFSVolumeSource", "monitors"): "Monitors",
    ("CephFSPersistentVolumeSource", "monitors"): "Monitors",
}
_ZERO = {"string": "", "bool": False, "bytes": None, QUANTITY: "0", INT_OR_STRING: 0}


def go(type: str, value: Any) -> Any:
    """`value`, an object of message `type` as JSON has it, as the internal struct prints. None stays None."""
    if value is None or not type.startswith(CORE):
        return value
    table = message(type)
    if table is None or not isinstance(value, dict):
        return value
    short = type.removeprefix(CORE)
    if short == "PodSpec":
        value = _internal_pod(value)
    out: Object = {}
    for field in _ordered(short, table):
        if field.inline:
            out.update(go(field.type, value) if field.type != META + "ObjectMeta" else value.get("metadata") or {})
        else:
            name = _NAMES_IN.get((short, field.name)) or _NAMES.get(field.name)
            out[name or field.name[0].upper() + field.name[1:]] = _member(field, value.get(field.name))
    return out


def _member(field: Field, value: Any) -> Any:
    if field.repeated:
        return [go(field.type, item) for item in value] if value else None
    if field.map:
        return {key: value[key] for key in sorted(value)} if value else None
    if value is None and not field.pointer:
        if field.type.startswith(CORE):
            return go(field.type, {})
        return _ZERO.get(field.type, 0)
    return go(field.type, value)


def _internal_pod(spec: Object) -> Object:
    """The host's namespaces are part of the security context there."""
    context = {**(spec.get("securityContext") or {}), **{name: spec[name] for name in _HOST if name in spec}}
    return {**spec, "securityContext": context}


def _ordered(short: str, table: tuple[Field, ...]) -> list[Field]:
    """The members of a struct in Go's order; what the internal type does not have is left out."""
    order = _ORDER.get(short)
    if order is None:
        return list(table)
    known = {field.name: field for field in table}
    if short == "PodSecurityContext":
        for name in _HOST:
            known[name] = Field(0, name, "bool", False, False, False, False, name in _POINTERS, False)
    return [known[name] for name in order.split() if name in known]


def _lines(tree: Any) -> list[str]:
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    for mark, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(mark, escaped)
    return [line + "\n" for line in text.split("\n")]


def difference(type: str, old: Any, new: Any) -> str:
    """The unified diff of two objects of message `type`, without a heading; "" if they print alike."""
    before, after = _lines(go(type, old)), _lines(go(type, new))
    return "".join(list(difflib.unified_diff(before, after, n=3))[2:])

"""A pod template as text: every field of the Go structs in their order, as upstream prints it before hashing it.

``pod-template-hash`` and the names of ReplicaSets depend on this text, so that the same template has the same hash
here and there. It is what ``%#v`` of the spew library gives: ``(v1.PodTemplateSpec){ObjectMeta:(v1.ObjectMeta){...``,
with the type of every field, ``<nil>`` for what is not set, and maps sorted by key.

`_TYPES` lists the structs that a template is made of. A field is ``GoName=type``; without a type it is a string; its
name in JSON follows from the Go name or stands behind a slash; ``+Name`` is an embedded struct, whose members stand in
the parent's JSON object. A type that is not listed is a string type of its own. Volumes that need a driver long gone
are not listed: they count as JSON.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any

import attrs

from kcore.objects import quantity

_TYPES = """
PodTemplateSpec: ObjectMeta/metadata=ObjectMeta Spec=PodSpec
ObjectMeta: Name GenerateName Namespace SelfLink UID=types.UID ResourceVersion Generation=int64 \
    CreationTimestamp=Time DeletionTimestamp=*Time DeletionGracePeriodSeconds=*int64 Labels=map Annotations=map \
    OwnerReferences=[]OwnerReference Finalizers=[]string ManagedFields=[]ManagedFieldsEntry
OwnerReference: APIVersion Kind Name UID=types.UID Controller=*bool BlockOwnerDeletion=*bool
PodSpec: Volumes=[]Volume InitContainers=[]Container Containers=[]Container EphemeralContainers=[]EphemeralContainer \
    RestartPolicy=RestartPolicy TerminationGracePeriodSeconds=*int64 ActiveDeadlineSeconds=*int64 \
    DNSPolicy=DNSPolicy NodeSelector=map ServiceAccountName DeprecatedServiceAccount/serviceAccount \
    AutomountServiceAccountToken=*bool NodeName HostNetwork=bool HostPID=bool HostIPC=bool \
    ShareProcessNamespace=*bool SecurityContext=*PodSecurityContext ImagePullSecrets=[]LocalObjectReference \
    Hostname Subdomain Affinity=*Affinity SchedulerName Tolerations=[]Toleration HostAliases=[]HostAlias \
    PriorityClassName Priority=*int32 DNSConfig=*PodDNSConfig ReadinessGates=[]PodReadinessGate \
    RuntimeClassName=*string EnableServiceLinks=*bool PreemptionPolicy=*PreemptionPolicy Overhead=ResourceList \
    TopologySpreadConstraints=[]TopologySpreadConstraint SetHostnameAsFQDN=*bool OS=*PodOS HostUsers=*bool \
    SchedulingGates=[]PodSchedulingGate ResourceClaims=[]PodResourceClaim Resources=*ResourceRequirements \
    HostnameOverride=*string SchedulingGroup=*PodSchedulingGroup
Container: Name Image Command=[]string Args=[]string WorkingDir Ports=[]ContainerPort EnvFrom=[]EnvFromSource \
    Env=[]EnvVar Resources=ResourceRequirements ResizePolicy=[]ContainerResizePolicy \
    RestartPolicy=*ContainerRestartPolicy RestartPolicyRules=[]ContainerRestartRule VolumeMounts=[]VolumeMount \
    VolumeDevices=[]VolumeDevice LivenessProbe=*Probe ReadinessProbe=*Probe StartupProbe=*Probe \
    Lifecycle=*Lifecycle TerminationMessagePath TerminationMessagePolicy=TerminationMessagePolicy \
    ImagePullPolicy=PullPolicy SecurityContext=*SecurityContext Stdin=bool StdinOnce=bool TTY=bool
ContainerPort: Name HostPort=int32 ContainerPort=int32 Protocol=Protocol HostIP
EnvFromSource: Prefix ConfigMapRef=*ConfigMapEnvSource SecretRef=*SecretEnvSource
ConfigMapEnvSource: +LocalObjectReference Optional=*bool
SecretEnvSource: +LocalObjectReference Optional=*bool
EnvVar: Name Value ValueFrom=*EnvVarSource
EnvVarSource: FieldRef=*ObjectFieldSelector ResourceFieldRef=*ResourceFieldSelector \
    ConfigMapKeyRef=*ConfigMapKeySelector SecretKeyRef=*SecretKeySelector FileKeyRef=*FileKeySelector
ObjectFieldSelector: APIVersion FieldPath
ResourceFieldSelector: ContainerName Resource Divisor=resource.Quantity
ConfigMapKeySelector: +LocalObjectReference Key Optional=*bool
SecretKeySelector: +LocalObjectReference Key Optional=*bool
FileKeySelector: VolumeName Path Key Optional=*bool
LocalObjectReference: Name
ResourceRequirements: Limits=ResourceList Requests=ResourceList Claims=[]ResourceClaim
ResourceClaim: Name Request
ContainerResizePolicy: ResourceName=ResourceName RestartPolicy=ResourceResizeRestartPolicy
ContainerRestartRule: Action=ContainerRestartRuleAction ExitCodes=*ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes: Operator=ContainerRestartRuleOnExitCodesOperator Values=[]int32
VolumeMount: Name ReadOnly=bool RecursiveReadOnly=*RecursiveReadOnlyMode MountPath SubPath \
    MountPropagation=*MountPropagationMode SubPathExpr
VolumeDevice: Name DevicePath
Probe: +ProbeHandler InitialDelaySeconds=int32 TimeoutSeconds=int32 PeriodSeconds=int32 SuccessThreshold=int32 \
    FailureThreshold=int32 TerminationGracePeriodSeconds=*int64
ProbeHandler: Exec=*ExecAction HTTPGet=*HTTPGetAction TCPSocket=*TCPSocketAction GRPC=*GRPCAction
Lifecycle: PostStart=*LifecycleHandler PreStop=*LifecycleHandler StopSignal=*Signal
LifecycleHandler: Exec=*ExecAction HTTPGet=*HTTPGetAction TCPSocket=*TCPSocketAction Sleep=*SleepAction
ExecAction: Command=[]string
HTTPGetAction: Path Port=intstr.IntOrString Host Scheme=URIScheme HTTPHeaders=[]HTTPHeader
HTTPHeader: Name Value
TCPSocketAction: Port=intstr.IntOrString Host
GRPCAction: Port=int32 Service=*string
SleepAction: Seconds=int64
SecurityContext: Capabilities=*Capabilities Privileged=*bool SELinuxOptions=*SELinuxOptions \
    WindowsOptions=*WindowsSecurityContextOptions RunAsUser=*int64 RunAsGroup=*int64 RunAsNonRoot=*bool \
    ReadOnlyRootFilesystem=*bool AllowPrivilegeEscalation=*bool ProcMount=*ProcMountType \
    SeccompProfile=*SeccompProfile AppArmorProfile=*AppArmorProfile
PodSecurityContext: SELinuxOptions=*SELinuxOptions WindowsOptions=*WindowsSecurityContextOptions RunAsUser=*int64 \
    RunAsGroup=*int64 RunAsNonRoot=*bool SupplementalGroups=[]int64 \
    SupplementalGroupsPolicy=*SupplementalGroupsPolicy FSGroup=*int64 Sysctls=[]Sysctl \
    FSGroupChangePolicy=*PodFSGroupChangePolicy SeccompProfile=*SeccompProfile AppArmorProfile=*AppArmorProfile \
    SELinuxChangePolicy=*PodSELinuxChangePolicy
Capabilities: Add=[]Capability Drop=[]Capability
SELinuxOptions: User Role Type Level
WindowsSecurityContextOptions: GMSACredentialSpecName=*string GMSACredentialSpec=*string RunAsUserName=*string \
    HostProcess=*bool
SeccompProfile: Type=SeccompProfileType LocalhostProfile=*string
AppArmorProfile: Type=AppArmorProfileType LocalhostProfile=*string
Sysctl: Name Value
Affinity: NodeAffinity=*NodeAffinity PodAffinity=*PodAffinity PodAntiAffinity=*PodAntiAffinity
NodeAffinity: RequiredDuringSchedulingIgnoredDuringExecution=*NodeSelector \
    PreferredDuringSchedulingIgnoredDuringExecution=[]PreferredSchedulingTerm
NodeSelector: NodeSelectorTerms=[]NodeSelectorTerm
NodeSelectorTerm: MatchExpressions=[]NodeSelectorRequirement MatchFields=[]NodeSelectorRequirement
NodeSelectorRequirement: Key Operator=NodeSelectorOperator Values=[]string
PreferredSchedulingTerm: Weight=int32 Preference=NodeSelectorTerm
PodAffinity: RequiredDuringSchedulingIgnoredDuringExecution=[]PodAffinityTerm \
    PreferredDuringSchedulingIgnoredDuringExecution=[]WeightedPodAffinityTerm
PodAntiAffinity: RequiredDuringSchedulingIgnoredDuringExecution=[]PodAffinityTerm \
    PreferredDuringSchedulingIgnoredDuringExecution=[]WeightedPodAffinityTerm
WeightedPodAffinityTerm: Weight=int32 PodAffinityTerm=PodAffinityTerm
PodAffinityTerm: LabelSelector=*LabelSelector Namespaces=[]string TopologyKey NamespaceSelector=*LabelSelector \
    MatchLabelKeys=[]string MismatchLabelKeys=[]string
LabelSelector: MatchLabels=map MatchExpressions=[]LabelSelectorRequirement
LabelSelectorRequirement: Key Operator=LabelSelectorOperator Values=[]string
Toleration: Key Operator=TolerationOperator Value Effect=TaintEffect TolerationSeconds=*int64
HostAlias: IP Hostnames=[]string
PodDNSConfig: Nameservers=[]string Searches=[]string Options=[]PodDNSConfigOption
PodDNSConfigOption: Name Value=*string
PodReadinessGate: ConditionType=PodConditionType
TopologySpreadConstraint: MaxSkew=int32 TopologyKey WhenUnsatisfiable=UnsatisfiableConstraintAction \
    LabelSelector=*LabelSelector MinDomains=*int32 NodeAffinityPolicy=*NodeInclusionPolicy \
    NodeTaintsPolicy=*NodeInclusionPolicy MatchLabelKeys=[]string
PodOS: Name=OSName
PodSchedulingGate: Name
PodResourceClaim: Name ResourceClaimName=*string ResourceClaimTemplateName=*string
PodSchedulingGroup: PodGroupName=*string
Volume: Name +VolumeSource
VolumeSource: HostPath=*HostPathVolumeSource EmptyDir=*EmptyDirVolumeSource \
    GCEPersistentDisk=*GCEPersistentDiskVolumeSource AWSElasticBlockStore=*AWSElasticBlockStoreVolumeSource \
    GitRepo=*GitRepoVolumeSource Secret=*SecretVolumeSource NFS=*NFSVolumeSource ISCSI=*ISCSIVolumeSource \
    Glusterfs=*GlusterfsVolumeSource PersistentVolumeClaim=*PersistentVolumeClaimVolumeSource RBD=*RBDVolumeSource \
    FlexVolume=*FlexVolumeSource Cinder=*CinderVolumeSource CephFS/cephfs=*CephFSVolumeSource \
    Flocker=*FlockerVolumeSource DownwardAPI=*DownwardAPIVolumeSource FC=*FCVolumeSource \
    AzureFile=*AzureFileVolumeSource ConfigMap=*ConfigMapVolumeSource VsphereVolume=*VsphereVirtualDiskVolumeSource \
    Quobyte=*QuobyteVolumeSource AzureDisk=*AzureDiskVolumeSource \
    PhotonPersistentDisk=*PhotonPersistentDiskVolumeSource Projected=*ProjectedVolumeSource \
    PortworxVolume=*PortworxVolumeSource ScaleIO=*ScaleIOVolumeSource StorageOS/storageos=*StorageOSVolumeSource \
    CSI=*CSIVolumeSource Ephemeral=*EphemeralVolumeSource Image=*ImageVolumeSource
HostPathVolumeSource: Path Type=*HostPathType
EmptyDirVolumeSource: Medium=StorageMedium SizeLimit=*resource.Quantity
SecretVolumeSource: SecretName Items=[]KeyToPath DefaultMode=*int32 Optional=*bool
KeyToPath: Key Path Mode=*int32
NFSVolumeSource: Server Path ReadOnly=bool
PersistentVolumeClaimVolumeSource: ClaimName ReadOnly=bool
DownwardAPIVolumeSource: Items=[]DownwardAPIVolumeFile DefaultMode=*int32
DownwardAPIVolumeFile: Path FieldRef=*ObjectFieldSelector ResourceFieldRef=*ResourceFieldSelector Mode=*int32
ConfigMapVolumeSource: +LocalObjectReference Items=[]KeyToPath DefaultMode=*int32 Optional=*bool
ProjectedVolumeSource: Sources=[]VolumeProjection DefaultMode=*int32
VolumeProjection: Secret=*SecretProjection DownwardAPI=*DownwardAPIProjection ConfigMap=*ConfigMapProjection \
    ServiceAccountToken=*ServiceAccountTokenProjection ClusterTrustBundle=*ClusterTrustBundleProjection \
    PodCertificate=*PodCertificateProjection
SecretProjection: +LocalObjectReference Items=[]KeyToPath Optional=*bool
ConfigMapProjection: +LocalObjectReference Items=[]KeyToPath Optional=*bool
DownwardAPIProjection: Items=[]DownwardAPIVolumeFile
ServiceAccountTokenProjection: Audience ExpirationSeconds=*int64 Path
ClusterTrustBundleProjection: Name=*string SignerName=*string LabelSelector=*LabelSelector Optional=*bool Path
CSIVolumeSource: Driver ReadOnly=*bool FSType=*string VolumeAttributes=map \
    NodePublishSecretRef=*LocalObjectReference
EphemeralVolumeSource: VolumeClaimTemplate=*PersistentVolumeClaimTemplate
PersistentVolumeClaimTemplate: ObjectMeta/metadata=ObjectMeta Spec=PersistentVolumeClaimSpec
PersistentVolumeClaimSpec: AccessModes=[]PersistentVolumeAccessMode Selector=*LabelSelector \
    Resources=VolumeResourceRequirements VolumeName StorageClassName=*string VolumeMode=*PersistentVolumeMode \
    DataSource=*TypedLocalObjectReference DataSourceRef=*TypedObjectReference VolumeAttributesClassName=*string
VolumeResourceRequirements: Limits=ResourceList Requests=ResourceList
TypedLocalObjectReference: APIGroup=*string Kind Name
TypedObjectReference: APIGroup=*string Kind Name Namespace=*string
ImageVolumeSource: Reference PullPolicy=PullPolicy
"""
_NUMBERS = ("int32", "int64")
_NO_TIME = "{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}"


@attrs.frozen(slots=True)
class _Field:
    name: str  # in Go
    json: str  # "" for an embedded struct
    type: str


@cache
def structs() -> dict[str, tuple[_Field, ...]]:
    found = {}
    for line in _TYPES.strip().splitlines():
        name, _, rest = line.partition(":")
        found[name] = tuple(_field(text) for text in rest.split())
    return found


def _field(text: str) -> _Field:
    if text.startswith("+"):
        return _Field(text[1:], "", text[1:])
    names, _, type = text.partition("=")
    name, _, json = names.partition("/")
    return _Field(name, json or _json_name(name), type or "string")


def _json_name(name: str) -> str:
    """``DNSPolicy`` is ``dnsPolicy``, ``TTY`` is ``tty``."""
    head = re.match(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]+$|[A-Z]", name)
    assert head is not None  # Go exports what begins with a capital
    return head[0].lower() + name[head.end() :]


def pod_template(template: Any) -> str:
    """The text of a pod template, defaulted and in the form in which it is stored."""
    return f"(v1.PodTemplateSpec){_value(template, 'PodTemplateSpec')}"


def _typed(value: Any, type: str) -> str:
    """A field's value with its type in front."""
    return f"({_go(type)}){_value(value, type)}"


def _go(type: str) -> str:
    """The type as Go prints it: with its package, which for the built-in kinds is ``v1``."""
    if type == "map":
        return "map[string]string"
    prefix = re.match(r"\*|\[\]|", type)
    bare = type[prefix.end() :] if prefix else type
    plain = "." in bare or bare in ("string", "bool", *_NUMBERS)
    return (prefix[0] if prefix else "") + (bare if plain else f"v1.{bare}")


def _value(value: Any, type: str) -> str:
    if type.startswith("*"):
        return "<nil>" if value is None else _value(value, type[1:])
    if type.startswith("[]"):
        return "[" + " ".join(_value(v, type[2:]) for v in value) + "]" if value else "<nil>"
    if type in ("map", "ResourceList"):
        item = "string" if type == "map" else "resource.Quantity"
        pairs = (f"{k}:{_value(v, item)}" for k, v in sorted(value.items())) if value else ()
        return f"map[{' '.join(pairs)}]" if value else "<nil>"
    if type == "bool":
        return "true" if value else "false"
    if type in _NUMBERS:
        return str(value or 0)
    if type == "Time":
        return _NO_TIME if value is None else str(value)
    if type == "intstr.IntOrString":
        text = value if isinstance(value, str) else ""
        return (
            f"{{Type:(intstr.Type){int(isinstance(value, str))} IntVal:(int32){0 if text else value or 0} "
            f"StrVal:(string){text}}}"
        )
    if type == "resource.Quantity":
        return _quantity(str(value or "0"))
    fields = structs().get(type)
    if fields is not None:
        return _struct(value or {}, fields)
    return value or "" if value is None or isinstance(value, str) else _json(value)


def _struct(value: dict[str, Any], fields: tuple[_Field, ...]) -> str:
    parts = (f"{f.name}:{_typed(value.get(f.json) if f.json else value, f.type)}" for f in fields)
    return "{" + " ".join(parts) + "}"


_UNITS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def _quantity(text: str) -> str:
    """A parsed quantity: its digits and their power of ten; binary units are multiplied out."""
    match = re.fullmatch(r"([+-]?)0*(\d*)(?:\.(\d*))?([a-zA-Z]*?)([eE][+-]?\d+|i?)", text)
    form, scale, number = "DecimalSI", 0, Decimal(0)
    if match is not None and match[5] == "i":
        form, number = "BinarySI", quantity.parse(text)
    elif match is not None:
        fraction = match[3] or ""
        exponent = int(match[5][1:]) if match[5] else _UNITS.get(match[4], 0)
        form = "DecimalExponent" if match[5] else form
        number, scale = Decimal(f"{match[1]}{match[2]}{fraction}" or "0"), exponent - len(fraction)
    return (
        f"{{i:(resource.int64Amount){{value:(int64){int(number)} scale:(resource.Scale){scale}}} "
        f"d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string) Format:(resource.Format){form}}}"
    )


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value, order="sorted").decode()

"""Fields of the built-in kinds that Go writes otherwise than their shape lets expect. See `golang`.

A line is a definition and its fields: ``*`` a pointer: kept even when zero; ``=`` always written; ``~`` null when
missing; ``-`` left out when empty.
"""

FORMS = """
admissionregistration.v1.MatchResources *matchPolicy
admissionregistration.v1.MutatingAdmissionPolicySpec *failurePolicy
admissionregistration.v1.MutatingWebhook *failurePolicy ~sideEffects *timeoutSeconds *matchPolicy \
    *reinvocationPolicy
admissionregistration.v1.NamedRuleWithOperations *scope
admissionregistration.v1.ParamRef *parameterNotFoundAction
admissionregistration.v1.RuleWithOperations *scope
admissionregistration.v1.ServiceReference *path *port
admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec -policyName -validationActions
admissionregistration.v1.ValidatingAdmissionPolicySpec *failurePolicy
admissionregistration.v1.ValidatingWebhook *failurePolicy ~sideEffects *timeoutSeconds *matchPolicy
admissionregistration.v1.Validation *reason
admissionregistration.v1.WebhookClientConfig *url
apps.v1.ControllerRevision =revision
apps.v1.DaemonSetCondition =type =status
apps.v1.DaemonSetSpec ~selector =updateStrategy *revisionHistoryLimit
apps.v1.DaemonSetStatus *collisionCount
apps.v1.DeploymentCondition =type =status
apps.v1.DeploymentSpec *replicas ~selector =strategy *revisionHistoryLimit *progressDeadlineSeconds
apps.v1.DeploymentStatus *collisionCount *terminatingReplicas
apps.v1.ReplicaSetCondition =type =status
apps.v1.ReplicaSetSpec *replicas ~selector =template
apps.v1.ReplicaSetStatus *terminatingReplicas
apps.v1.RollingUpdateDaemonSet *maxUnavailable *maxSurge
apps.v1.RollingUpdateDeployment *maxUnavailable *maxSurge
apps.v1.RollingUpdateStatefulSetStrategy *partition *maxUnavailable
apps.v1.StatefulSetCondition =type =status
apps.v1.StatefulSetOrdinals =start
apps.v1.StatefulSetSpec *replicas ~selector =serviceName =updateStrategy *revisionHistoryLimit
apps.v1.StatefulSetStatus *collisionCount =availableReplicas
authentication.v1.SelfSubjectReviewStatus =userInfo
authentication.v1.TokenRequestSpec ~audiences ~boundObjectRef ~expirationSeconds
authentication.v1.TokenRequestStatus =token
authentication.v1.TokenReviewSpec -token
authentication.v1.TokenReviewStatus =user
autoscaling.v1.HorizontalPodAutoscalerSpec *minReplicas *targetCPUUtilizationPercentage
autoscaling.v1.HorizontalPodAutoscalerStatus *observedGeneration *lastScaleTime *currentCPUUtilizationPercentage
autoscaling.v2.HPAScalingRules *selectPolicy *stabilizationWindowSeconds *tolerance
autoscaling.v2.HorizontalPodAutoscalerSpec *minReplicas
autoscaling.v2.HorizontalPodAutoscalerStatus *observedGeneration *lastScaleTime ~currentMetrics
autoscaling.v2.MetricTarget *value *averageValue *averageUtilization
autoscaling.v2.MetricValueStatus *value *averageValue *averageUtilization
batch.v1.CronJobSpec *startingDeadlineSeconds *suspend *successfulJobsHistoryLimit *failedJobsHistoryLimit *timeZone
batch.v1.CronJobStatus *lastScheduleTime *lastSuccessfulTime
batch.v1.JobSpec *parallelism *completions *activeDeadlineSeconds *manualSelector *backoffLimit \
    *ttlSecondsAfterFinished *completionMode *suspend *backoffLimitPerIndex *maxFailedIndexes *podReplacementPolicy \
    *managedBy
batch.v1.JobStatus *startTime *completionTime *ready *failedIndexes *terminating
batch.v1.JobTemplateSpec =spec
batch.v1.PodFailurePolicyOnExitCodesRequirement *containerName
batch.v1.PodFailurePolicyOnPodConditionsPattern =status
batch.v1.SuccessPolicyRule *succeededIndexes *succeededCount
certificates.v1.CertificateSigningRequestSpec *expirationSeconds
coordination.v1.LeaseSpec *holderIdentity *leaseDurationSeconds *acquireTime *renewTime *leaseTransitions *strategy \
    *preferredHolder
core.v1.AppArmorProfile *localhostProfile
core.v1.AzureDiskVolumeSource *cachingMode *fsType *readOnly *kind
core.v1.AzureFilePersistentVolumeSource ~secretNamespace
core.v1.CSIVolumeSource *readOnly *fsType
core.v1.ClientIPConfig *timeoutSeconds
core.v1.ClusterTrustBundleProjection *name *signerName *optional
core.v1.ConfigMap *immutable
core.v1.ConfigMapEnvSource *optional
core.v1.ConfigMapKeySelector *optional
core.v1.ConfigMapProjection *optional
core.v1.ConfigMapVolumeSource *defaultMode *optional
core.v1.Container =resources *restartPolicy
core.v1.ContainerImage ~names
core.v1.ContainerRestartRule -action
core.v1.ContainerRestartRuleOnExitCodes -operator
core.v1.ContainerStatus =state =lastState *started *stopSignal
core.v1.DownwardAPIVolumeFile *mode
core.v1.DownwardAPIVolumeSource *defaultMode
core.v1.EmptyDirVolumeSource *sizeLimit
core.v1.EndpointAddress *nodeName
core.v1.EndpointPort *appProtocol
core.v1.EphemeralContainer =resources *restartPolicy
core.v1.Event =source =reportingComponent =reportingInstance
core.v1.FCVolumeSource *lun
core.v1.FileKeySelector *optional
core.v1.GRPCAction ~service
core.v1.GlusterfsPersistentVolumeSource *endpointsNamespace
core.v1.HostPathVolumeSource *type
core.v1.ISCSIPersistentVolumeSource *initiatorName
core.v1.ISCSIVolumeSource *initiatorName
core.v1.ImageVolumeStatus -imageRef
core.v1.KeyToPath *mode
core.v1.Lifecycle *stopSignal
core.v1.LoadBalancerIngress *ipMode
core.v1.LocalVolumeSource *fsType
core.v1.NodeDaemonEndpoints =kubeletEndpoint
core.v1.NodeFeatures *supplementalGroupsPolicy
core.v1.NodeRuntimeHandler =name
core.v1.NodeRuntimeHandlerFeatures *recursiveReadOnlyMounts *userNamespaces
core.v1.NodeStatus =daemonEndpoints =nodeInfo
core.v1.NodeSwapStatus *capacity
core.v1.PersistentVolumeClaimSpec =resources *storageClassName *volumeMode *volumeAttributesClassName
core.v1.PersistentVolumeClaimStatus *currentVolumeAttributesClassName
core.v1.PersistentVolumeSpec *volumeMode *volumeAttributesClassName
core.v1.PersistentVolumeStatus *lastPhaseTransitionTime
core.v1.PodCertificateProjection -signerName -keyType *maxExpirationSeconds
core.v1.PodDNSConfigOption *value
core.v1.PodResourceClaim *resourceClaimName *resourceClaimTemplateName
core.v1.PodResourceClaimStatus *resourceClaimName
core.v1.PodSchedulingGroup *podGroupName
core.v1.PodSecurityContext *runAsUser *runAsNonRoot *fsGroup *runAsGroup *fsGroupChangePolicy \
    *supplementalGroupsPolicy *seLinuxChangePolicy
core.v1.PodSpec *terminationGracePeriodSeconds *activeDeadlineSeconds *automountServiceAccountToken *priority \
    *shareProcessNamespace *runtimeClassName *enableServiceLinks *preemptionPolicy *setHostnameAsFQDN *hostUsers \
    *hostnameOverride
core.v1.PodStatus *startTime
core.v1.PodTemplate =template
core.v1.PodTemplateSpec =spec
core.v1.PortStatus *error
core.v1.Probe *terminationGracePeriodSeconds
core.v1.ProjectedVolumeSource ~sources *defaultMode
core.v1.ReplicationControllerSpec *replicas
core.v1.ResourceHealth *message
core.v1.ScaleIOPersistentVolumeSource ~secretRef
core.v1.ScaleIOVolumeSource ~secretRef
core.v1.SeccompProfile *localhostProfile
core.v1.Secret *immutable
core.v1.SecretEnvSource *optional
core.v1.SecretKeySelector *optional
core.v1.SecretProjection *optional
core.v1.SecretVolumeSource *defaultMode *optional
core.v1.SecurityContext *privileged *runAsUser *runAsNonRoot *readOnlyRootFilesystem *allowPrivilegeEscalation \
    *runAsGroup *procMount
core.v1.ServiceAccount *automountServiceAccountToken
core.v1.ServiceAccountTokenProjection *expirationSeconds
core.v1.ServicePort *appProtocol =targetPort
core.v1.ResourceFieldSelector =divisor
storage.v1.CSINode *status
core.v1.ServiceSpec *ipFamilyPolicy *allocateLoadBalancerNodePorts *loadBalancerClass *internalTrafficPolicy \
    *trafficDistribution
core.v1.ServiceStatus =loadBalancer
core.v1.Taint *timeAdded
core.v1.Toleration *tolerationSeconds
core.v1.TopologySpreadConstraint *minDomains *nodeAffinityPolicy *nodeTaintsPolicy
core.v1.TypedLocalObjectReference ~apiGroup
core.v1.TypedObjectReference ~apiGroup *namespace
core.v1.VolumeMount *mountPropagation *recursiveReadOnly
core.v1.VolumeMountStatus *recursiveReadOnly
core.v1.WindowsSecurityContextOptions *gmsaCredentialSpecName *gmsaCredentialSpec *runAsUserName *hostProcess
discovery.v1.Endpoint =conditions *hostname *nodeName *zone
discovery.v1.EndpointConditions *ready *serving *terminating
discovery.v1.EndpointPort *name *protocol *port *appProtocol
discovery.v1.EndpointSlice ~endpoints ~ports
events.v1.Event =regarding =deprecatedSource
flowcontrol.v1.ExemptPriorityLevelConfiguration *nominalConcurrencyShares *lendablePercent
flowcontrol.v1.FlowSchemaCondition -type
flowcontrol.v1.FlowSchemaSpec =matchingPrecedence
flowcontrol.v1.LimitedPriorityLevelConfiguration ~nominalConcurrencyShares *lendablePercent *borrowingLimitPercent
flowcontrol.v1.PriorityLevelConfigurationCondition -type
flowcontrol.v1.QueuingConfiguration =queues =handSize =queueLengthLimit
flowcontrol.v1.ResourcePolicyRule ~namespaces
networking.v1.HTTPIngressPath ~pathType
networking.v1.IPAddressSpec *parentRef
networking.v1.IngressClassParametersReference *apiGroup ~scope *namespace
networking.v1.IngressPortStatus *error
networking.v1.IngressServiceBackend =port
networking.v1.IngressSpec *ingressClassName
networking.v1.IngressStatus =loadBalancer
networking.v1.NetworkPolicyPort *protocol *port *endPort
networking.v1.NetworkPolicySpec =podSelector
networking.v1.ParentReference -resource -name
policy.v1.PodDisruptionBudgetSpec *minAvailable *maxUnavailable *unhealthyPodEvictionPolicy
policy.v1.PodDisruptionBudgetStatus =disruptionsAllowed =currentHealthy =desiredHealthy =expectedPods
rbac.v1.ClusterRole ~rules
rbac.v1.Role ~rules
rbac.v1.RoleRef =apiGroup
resource.v1.AllocatedDeviceStatus ~conditions *shareID
resource.v1.AllocationResult =devices *allocationTimestamp
resource.v1.CapacityRequestPolicy ~default
resource.v1.CapacityRequestPolicyRange *min *max *step
resource.v1.CounterSet -counters
resource.v1.Device *nodeName *allNodes *bindsToNode *allowMultipleAllocations
resource.v1.DeviceAttribute *int *bool *string *version
resource.v1.DeviceClaim ~requests
resource.v1.DeviceClassSpec *extendedResourceName
resource.v1.DeviceConstraint *matchAttribute *distinctAttribute
resource.v1.DeviceCounterConsumption -counters
resource.v1.DeviceRequestAllocationResult *adminAccess *shareID
resource.v1.DeviceTaint *timeAdded
resource.v1.DeviceToleration *tolerationSeconds
resource.v1.ExactDeviceRequest *adminAccess
resource.v1.ResourceClaimSpec =devices
resource.v1.ResourceClaimTemplateSpec =spec
resource.v1.ResourceSliceSpec *nodeName *allNodes *perDeviceNodeSelection
scheduling.v1.PriorityClass =value *preemptionPolicy
storage.v1.CSIDriverSpec *attachRequired *podInfoOnMount *storageCapacity *fsGroupPolicy *requiresRepublish \
    *seLinuxMount *nodeAllocatableUpdatePeriodSeconds *serviceAccountTokenInSecrets *preventPodSchedulingIfMissing
storage.v1.CSINodeDriver ~topologyKeys
storage.v1.CSIStorageCapacity *capacity *maximumVolumeSize
storage.v1.StorageClass *reclaimPolicy *allowVolumeExpansion *volumeBindingMode
storage.v1.TokenRequest *expirationSeconds
storage.v1.VolumeAttachmentSource *persistentVolumeName
storage.v1.VolumeError *errorCode
storage.v1.VolumeNodeResources *count
apiextensions.v1.CustomResourceDefinitionStatus ~conditions =acceptedNames ~storedVersions
apiextensions.v1.CustomResourceDefinitionVersion *deprecationWarning
apiextensions.v1.CustomResourceSubresourceScale *labelSelectorPath
apiextensions.v1.JSONSchemaProps *$ref *maximum *minimum *maxLength *minLength *maxItems *minItems *multipleOf \
    *maxProperties *minProperties *x-kubernetes-preserve-unknown-fields *x-kubernetes-list-type \
    *x-kubernetes-map-type
apiextensions.v1.ServiceReference *path *port
apiextensions.v1.ValidationRule *reason *optionalOldSelf
apiextensions.v1.WebhookClientConfig *url
meta.v1.DeleteOptions *gracePeriodSeconds *orphanDependents *propagationPolicy \
    *ignoreStoreReadErrorWithClusterBreakingPotential
meta.v1.ManagedFieldsEntry *time
meta.v1.ObjectMeta -creationTimestamp *deletionTimestamp *deletionGracePeriodSeconds
meta.v1.OwnerReference *controller *blockOwnerDeletion
meta.v1.Preconditions *uid *resourceVersion
apiregistration.v1.ServiceReference *port
"""

package event

// Channel is the stable id of a way by which a command gets into a container.
// The full catalogue, with what this version does about each, is
// internal/core/attack's; the ids here are those that sessions carry.
type Channel string

// The channels that this version tells apart.
const (
	ChannelDockerExec      Channel = "DK-EXEC"
	ChannelDockerExecSplit Channel = "DK-EXEC-SPLIT"
	ChannelDockerExecPriv  Channel = "DK-EXEC-PRIV"
	ChannelDockerRun       Channel = "DK-RUN"
	ChannelDockerAttach    Channel = "DK-ATTACH"
	ChannelDockerHealth    Channel = "DK-HEALTH"
	ChannelDockerStart     Channel = "DK-START-ARGS"
	ChannelDockerArchive   Channel = "DK-ARCHIVE"
	ChannelRuntimeCtr      Channel = "RT-CTR"
	ChannelRuntimeRun      Channel = "RT-RUN"
	ChannelRuntimeRunc     Channel = "RT-RUNC"
	ChannelRuntimeCRI      Channel = "RT-CRI"
	ChannelHostNsenter     Channel = "HO-NSENTER"
	ChannelHostCgroup      Channel = "HO-CGROUP"
	ChannelHostChroot      Channel = "HO-CHROOT"

	ChannelKubeExecSPDY     Channel = "K8-EXEC-SPDY"
	ChannelKubeExecWS       Channel = "K8-EXEC-WS"
	ChannelKubeAttach       Channel = "K8-ATTACH"
	ChannelKubeAttachWS     Channel = "K8-ATTACH-WS"
	ChannelKubeCopy         Channel = "K8-CP"
	ChannelKubeEphemeral    Channel = "K8-EPH"
	ChannelKubeDebugNode    Channel = "K8-DBGNODE"
	ChannelKubeForward      Channel = "K8-PF"
	ChannelKubePodProxy     Channel = "K8-PPROXY"
	ChannelKubeServiceProxy Channel = "K8-SPROXY"
	ChannelKubeNodeExec     Channel = "K8-NPROXY-EXEC"
	ChannelKubeNodeRun      Channel = "K8-NPROXY-RUN"
	ChannelKubePod          Channel = "K8-POD"
	ChannelKubeHook         Channel = "K8-HOOK"
	ChannelKubeProbe        Channel = "K8-PROBE"
	ChannelKubeInit         Channel = "K8-INIT"
	ChannelKubeSidecar      Channel = "K8-SIDECAR"
	ChannelKubeWorkload     Channel = "K8-WORKLOAD"
	ChannelKubeCron         Channel = "K8-CRON"
	ChannelKubePatchImage   Channel = "K8-PATCHIMG"
	ChannelKubeletRun       Channel = "KL-RUN"
	ChannelKubeletExec      Channel = "KL-EXEC"
	ChannelKubeletExecWS    Channel = "KL-EXEC-WS"
	ChannelKubeletAttach    Channel = "KL-ATTACH"
	ChannelKubeletForward   Channel = "KL-PF"
	ChannelKubeletStatic    Channel = "KL-STATIC"
	ChannelKubeletCred      Channel = "KL-CRED"
	// ChannelUnknown is the channel of a session whose way in is not known.
	ChannelUnknown Channel = "UNKNOWN"
)

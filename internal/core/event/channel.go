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
	// ChannelUnknown is the channel of a session whose way in is not known.
	ChannelUnknown Channel = "UNKNOWN"
)

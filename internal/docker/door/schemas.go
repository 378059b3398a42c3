package door

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"
)

// The bodies that say which command is run, or what a container is given, by the
// types that the daemon itself decodes them into.
var (
	execCreate = &schema{
		new:      func() any { return new(container.ExecCreateRequest) },
		harmless: []string{"Detach"},
	}
	execStart = &schema{new: func() any { return new(container.ExecStartRequest) }}
	create    = &schema{
		new:   func() any { return new(container.CreateRequest) },
		words: append([]string{"HostConfig.CapAdd", "HostConfig.CapDrop"}, commandLists...),
		harmless: []string{
			"MacAddress", "Cpuset", "HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP", "HostConfig.DiskQuota",
		},
	}
	commit  = &schema{new: func() any { return new(container.Config) }, words: commandLists, harmless: []string{"MacAddress"}}
	update  = &schema{new: func() any { return new(container.UpdateConfig) }, harmless: []string{"KernelMemory", "KernelMemoryTCP"}}
	service = &schema{new: func() any { return new(swarm.ServiceSpec) }}
	vol     = &schema{new: func() any { return new(volume.CreateRequest) }}
)

// commandLists are those of a container's configuration that daemons before 29
// take as one text as well.
var commandLists = []string{"Cmd", "Entrypoint", "Shell", "OnBuild"}

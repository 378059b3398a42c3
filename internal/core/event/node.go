package event

// WithNode returns o as something that happened on that node.
func WithNode(o Observation, node string) Observation {
	switch o := o.(type) {
	case SessionEntry:
		o.Node = node
		return o
	case ProcessExec:
		o.Node = node
		return o
	case ProcessFork:
		o.Node = node
		return o
	case ProcessExit:
		o.Node = node
		return o
	case ClientConnect:
		o.Node = node
		return o
	case ClientClose:
		o.Node = node
		return o
	case DockerEvent:
		o.Node = node
		return o
	case DockerContainer:
		o.Node = node
		return o
	case DockerExec:
		o.Node = node
		return o
	case DockerRequest:
		o.Node = node
		return o
	case DockerAnswer:
		o.Node = node
		return o
	case Decision:
		o.Node = node
		return o
	case RuntimeRequest:
		o.Node = node
		return o
	}
	return withNode(o, node)
}

// withNode is the other half of WithNode.
func withNode(o Observation, node string) Observation {
	switch o := o.(type) {
	case RuntimeEvent:
		o.Node = node
		return o
	case RuntimeTask:
		o.Node = node
		return o
	case RuntimeContainer:
		o.Node = node
		return o
	case GateSighting:
		o.Node = node
		return o
	case KubeRequest:
		o.Node = node
		return o
	case KubeAdmission:
		o.Node = node
		return o
	case KubePod:
		o.Node = node
		return o
	case Progress:
		o.Node = node
		return o
	case Clock:
		o.Node = node
		return o
	case WitnessState:
		o.Node = node
		return o
	case Loss:
		o.Node = node
		return o
	case Tick:
		o.Node = node
		return o
	case Host:
		o.Node = node
		return o
	}
	return o
}

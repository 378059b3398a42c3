package truth

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// DockerSheet scores the storm on Docker.
func DockerSheet(mode Mode) Sheet {
	least := session.LevelStrong
	if mode == Off {
		least = session.LevelSet
	}
	return Sheet{
		Mode: mode, Doors: Doors,
		Expect: func(d Door) Expected {
			want := d.expected()
			if want.Counts {
				want.Least = least
			}
			return want
		},
		Require: dockerRequirements,
	}
}

func (d Door) expected() Expected {
	execs := []event.Channel{event.ChannelDockerExec, event.ChannelDockerExecSplit}
	either := []session.Kind{session.KindExec, session.KindHealthcheck}
	one := func(k session.Kind, c event.Channel) Expected {
		return Expected{Kinds: []session.Kind{k}, Channels: []event.Channel{c}}
	}
	switch d {
	case DockerUnused:
		return Expected{Kinds: []session.Kind{session.KindExec}, Channels: execs}
	case Health:
		want := one(session.KindHealthcheck, event.ChannelDockerHealth)
		want.Unsure = either
		return want
	case Run:
		return one(session.KindStart, event.ChannelDockerRun)
	case Ctr:
		return one(session.KindRuntime, event.ChannelRuntimeCtr)
	case Runc:
		return one(session.KindRuntime, event.ChannelRuntimeRunc)
	case Nsenter, NsenterMnt:
		return one(session.KindEnter, event.ChannelHostNsenter)
	case NsenterInCg:
		return one(session.KindEnter, event.ChannelHostCgroup)
	case Chroot:
		return one(session.KindEnter, event.ChannelHostChroot)
	default:
		return Expected{Kinds: []session.Kind{session.KindExec}, Channels: execs, Counts: true, Unsure: either}
	}
}

func dockerRequirements(r Result) []Requirement {
	exec := r.Sum(func(d Door) bool { return d.expected().Counts })
	known := Percent(exec.Exact+exec.Strong, exec.Deeds)
	ctr := r.Sum(func(d Door) bool { return d == Ctr })
	tied := Percent(ctr.Exact, ctr.Deeds)
	switch r.Mode {
	case Always:
		return []Requirement{
			{"docker exec exact or strong", known, "%", ">= 99", known >= 99},
			{"ctr task exec exact", tied, "%", ">= 99", ctr.Deeds == 0 || tied >= 99},
		}
	case Auto:
		return []Requirement{
			{"docker exec exact or strong", known, "%", ">= 95", known >= 95},
			{"ctr task exec exact", tied, "%", ">= 95", ctr.Deeds == 0 || tied >= 95},
		}
	default:
		inside := Percent(exec.Exact+exec.Strong+exec.Set, exec.Deeds)
		return []Requirement{{"docker exec, true actor named or in the set", inside, "%", "100", inside == 100}}
	}
}

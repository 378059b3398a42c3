package truth

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

var later = time.Unix(1, 0)

// TestScore plants every fault that the score must see.
func TestScore(t *testing.T) {
	u5, u9 := uint32(5), uint32(9)
	proc := event.ProcessID{PID: 7, Start: 20_000_000}
	person := func(uid, pid uint32) session.Actor {
		return session.Actor{Kind: session.ActorUnix, UID: &uid, PID: pid}
	}
	daemon := session.Actor{Kind: session.ActorNone, Service: event.ServiceDocker}
	deed := Deed{Door: DockerCLI, Container: "c", Process: proc, By: []Person{{UID: 5, PIDs: []uint32{70}}}}
	health := Deed{Door: Health, Container: "c", Process: proc}
	good := func(change func(*session.Session)) session.Session {
		s := session.Session{
			ID: "s", Kind: session.KindExec, Channel: event.ChannelDockerExec,
			Target:      session.Target{ContainerID: "c"},
			Actor:       person(5, 70),
			Attribution: session.Attribution{Level: session.LevelExact},
			Processes:   []session.Process{{ID: event.ProcessID{PID: 7, Start: 20_009_999}}},
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	check := func(s *session.Session) {
		s.Kind, s.Channel, s.Actor = session.KindHealthcheck, event.ChannelDockerHealth, daemon
	}
	set := func(who ...session.Actor) func(*session.Session) {
		return func(s *session.Session) {
			s.Actor = session.Actor{Kind: session.ActorNone}
			s.Attribution = session.Attribution{Level: session.LevelSet, Candidates: who}
		}
	}
	asked := Deed{Door: DockerCLI, Process: proc, By: []Person{{User: "mia"}}}
	user := func(name, by string) func(*session.Session) {
		return func(s *session.Session) {
			s.AuditID, s.Actor = "a", session.Actor{Kind: session.ActorKubernetes, User: name}
			if by != "" {
				s.Actor.Impersonator = &session.Identity{User: by}
			}
		}
	}
	tests := map[string]struct {
		deed Deed
		s    session.Session
		want Row
	}{
		"right":             {deed, good(nil), Row{Found: 1, Exact: 1}},
		"not found":         {deed, good(func(s *session.Session) { s.Processes[0].ID.Start += 1e7 }), Row{}},
		"superseded":        {deed, good(func(s *session.Session) { s.SupersededBy = "x" }), Row{}},
		"other person":      {deed, good(func(s *session.Session) { s.Actor = person(9, 70) }), Row{Found: 1, Wrong: 1}},
		"other process":     {deed, good(func(s *session.Session) { s.Actor = person(5, 71) }), Row{Found: 1, Wrong: 1}},
		"other login":       {deed, good(func(s *session.Session) { s.Actor.LoginUID = &u5 }), Row{Found: 1, Wrong: 1}},
		"taken for daemon":  {deed, good(check), Row{Found: 1, Wrong: 1, Misfiled: 1, Disguised: 1}},
		"in the set":        {deed, good(set(person(9, 90), person(5, 70))), Row{Found: 1, Set: 1}},
		"not in the set":    {deed, good(set(person(9, 90), daemon)), Row{Found: 1, Wrong: 1}},
		"set and name":      {deed, good(func(s *session.Session) { s.Attribution = session.Attribution{Level: session.LevelSet} }), Row{Found: 1, Wrong: 1}},
		"or somebody":       {deed, good(set(person(9, 90), session.Actor{})), Row{Found: 1, None: 1}},
		"none":              {deed, good(func(s *session.Session) { s.Actor = session.Actor{}; s.Attribution.Level = session.LevelNone }), Row{Found: 1, None: 1}},
		"no level":          {deed, good(func(s *session.Session) { s.Attribution.Level = "" }), Row{Found: 1, Wrong: 1}},
		"wrong channel":     {deed, good(func(s *session.Session) { s.Channel = event.ChannelDockerRun }), Row{Found: 1, Exact: 1, Misfiled: 1}},
		"health":            {health, good(check), Row{Found: 1, Exact: 1}},
		"health named":      {health, good(nil), Row{Found: 1, Wrong: 1, Misfiled: 1}},
		"health or person":  {health, good(set(person(5, 70), daemon)), Row{Found: 1, Set: 1}},
		"health: only them": {health, good(set(person(5, 70))), Row{Found: 1, Wrong: 1}},
		"by name":           {asked, good(user("mia", "")), Row{Found: 1, Exact: 1}},
		"in another's name": {asked, good(user("mia", "ben")), Row{Found: 1, Wrong: 1}},
		"by audit id":       {Deed{Door: DockerCLI, AuditID: "a", By: asked.By}, good(user("mia", "")), Row{Found: 1, Exact: 1}},
		"two people, either": {
			Deed{Door: DockerSplit, Process: proc, By: []Person{{UID: u9}, {UID: u5}}},
			good(nil),
			Row{Found: 1, Exact: 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := Score(DockerSheet(Always), Stage{Deeds: []Deed{tt.deed}, Until: later}, []session.Session{tt.s}, nil)
			tt.want.Deeds = 1
			if res.Total != tt.want {
				t.Errorf("got %+v, want %+v (%v)", res.Total, tt.want, res.Failures)
			}
			bad := tt.want.Found == 0 || tt.want.Wrong+tt.want.Misfiled > 0
			if bad && (res.OK || len(res.Failures) == 0) {
				t.Errorf("ok = %v, failures = %v", res.OK, res.Failures)
			}
		})
	}
}

func TestScoreSessionsThatNobodyCaused(t *testing.T) {
	s := session.Session{ID: "s", Kind: session.KindEnter, Target: session.Target{ContainerID: "c"}}
	if res := Score(DockerSheet(Off), Stage{Watched: []event.ContainerID{"c"}, Until: later}, []session.Session{s}, nil); res.Extra != 1 || res.OK {
		t.Errorf("extra = %d, ok = %v", res.Extra, res.OK)
	}
	if res := Score(DockerSheet(Off), Stage{Until: later}, []session.Session{s}, nil); res.Extra != 0 {
		t.Errorf("a container that is not watched counts: %d", res.Extra)
	}
}

func TestScoreNamesTakenBack(t *testing.T) {
	u := uint32(5)
	deed := Deed{Door: DockerCLI, ExecID: "e", By: []Person{{UID: 6}}}
	last := session.Session{ID: "s", Kind: session.KindExec, ExecID: "e", Revision: 2, Attribution: session.Attribution{Level: session.LevelNone}}
	first := last
	first.Revision, first.Attribution.Level, first.Actor = 1, session.LevelStrong, session.Actor{Kind: session.ActorUnix, UID: &u}
	res := Score(DockerSheet(Always), Stage{Deeds: []Deed{deed}, Until: later}, []session.Session{last}, []session.Session{first, last})
	if res.WrongBefore != 1 || res.OK {
		t.Errorf("wrong before = %d, ok = %v (%v)", res.WrongBefore, res.OK, res.Failures)
	}
}

func TestShares(t *testing.T) {
	rows := func(known, set int) Result {
		r := Result{Rows: []Row{{Door: DockerCLI, Deeds: known + set, Found: known + set, Exact: known, Set: set}}}
		r.Total = r.Rows[0]
		return r
	}
	for _, tt := range []struct {
		mode       Mode
		known, set int
		want       bool
	}{
		{Always, 99, 1, true}, {Always, 98, 2, false}, {Auto, 95, 5, true}, {Auto, 94, 6, false}, {Off, 0, 100, true},
	} {
		r := rows(tt.known, tt.set)
		r.Mode = tt.mode
		r.require(DockerSheet(tt.mode))
		if r.OK != tt.want {
			t.Errorf("%s %d of 100 known: ok = %v", tt.mode, tt.known, r.OK)
		}
	}
}

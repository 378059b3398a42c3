package winevent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
)

var errNoProcess = errors.New("a process event without the process's id")

// get returns a value, "" for the "-" that stands for none.
func (rec *record) get(name string) string {
	if s := rec.data[name]; s != "-" {
		return s
	}
	return ""
}

// started takes Sysmon's event 1.
func (r *Reader) started(rec record) ([]event.Observation, error) {
	pid, err := pidOf(rec.get("ProcessId"))
	if err == nil && rec.get("ProcessGuid") == "" {
		err = errNoProcess
	}
	if err != nil {
		return nil, err
	}
	ppid, err := pidOf(rec.get("ParentProcessId"))
	if err != nil {
		return nil, err
	}
	s := lineage.Seen{
		Time: rec.utc(), Node: rec.computer, Key: guid(rec.get("ProcessGuid")), ParentKey: guid(rec.get("ParentProcessGuid")),
		PID: pid, PPID: ppid, Place: place(rec.get("User")), Name: name(rec.get("Image")),
		Exe: event.Executable{Path: event.Text(rec.get("Image"))}, Argv: line(rec.get("CommandLine")), Cred: user(rec.get("User")),
	}
	if image := rec.get("ParentImage"); image != "" {
		s.Parents = []lineage.Parent{{
			Ancestor: event.Ancestor{
				Comm: name(image), Exe: event.Text(image), Argv: line(rec.get("ParentCommandLine")), Cred: user(rec.get("ParentUser")),
			},
			Place: place(rec.get("ParentUser")),
		}}
	}
	return r.sysmon.Exec(s), nil
}

// ended takes Sysmon's event 5, which has no status.
func (r *Reader) ended(rec record) ([]event.Observation, error) {
	pid, err := pidOf(rec.get("ProcessId"))
	if err == nil && rec.get("ProcessGuid") == "" {
		err = errNoProcess
	}
	if err != nil {
		return nil, err
	}
	return r.sysmon.Exit(rec.utc(), rec.computer, guid(rec.get("ProcessGuid")), pid, nil, 0), nil
}

// created takes the Security log's event 4688.
func (r *Reader) created(rec record) ([]event.Observation, error) {
	pid, err := pidOf(rec.get("NewProcessId"))
	if err == nil && pid == 0 {
		err = errNoProcess
	}
	if err != nil {
		return nil, err
	}
	ppid, err := pidOf(rec.get("ProcessId"))
	if err != nil {
		return nil, err
	}
	who := account(rec.get("TargetDomainName"), rec.get("TargetUserName"))
	if who == "" {
		who = account(rec.get("SubjectDomainName"), rec.get("SubjectUserName"))
	}
	image, parent := rec.get("NewProcessName"), rec.get("ParentProcessName")
	s := lineage.Seen{
		Time: rec.time.UTC(), Node: rec.computer, PID: pid, PPID: ppid, Place: place(who), Name: name(image),
		Exe: event.Executable{Path: event.Text(image)}, Argv: line(rec.get("CommandLine")), Cred: user(who),
	}
	if parent != "" {
		s.Parents = []lineage.Parent{{Ancestor: event.Ancestor{Comm: name(parent), Exe: event.Text(parent), Cred: user("")}}}
	}
	return r.security.Exec(s), nil
}

// exited takes the Security log's event 4689.
func (r *Reader) exited(rec record) ([]event.Observation, error) {
	pid, err := pidOf(rec.get("ProcessId"))
	if err == nil && pid == 0 {
		err = errNoProcess
	}
	if err != nil {
		return nil, err
	}
	status, err := strconv.ParseUint(rec.get("Status"), 0, 32)
	if err != nil {
		return nil, fmt.Errorf("status %.20q", rec.get("Status"))
	}
	code := int(int32(status))
	return r.security.Exit(rec.time.UTC(), rec.computer, "", pid, &code, 0), nil
}

// utc is when the process began: Sysmon's own time, else the event's.
func (rec *record) utc() time.Time {
	if t, err := time.Parse("2006-01-02 15:04:05.000", rec.get("UtcTime")); err == nil {
		return t.UTC()
	}
	return rec.time.UTC()
}

// pidOf reads a pid, in decimal (Sysmon) or hexadecimal (0x…, Security log).
func pidOf(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("process id %.20q", s)
	}
	return uint32(n), nil
}

// guid returns a process's GUID, "" for the one of zeros that stands for none.
func guid(s string) string {
	if strings.Trim(s, "{}0-") == "" {
		return ""
	}
	return strings.ToLower(strings.Trim(s, "{}"))
}

func name(image string) event.Text {
	return event.Text(image[strings.LastIndexAny(image, `/\`)+1:])
}

func line(s string) event.Argv {
	if s == "" {
		return event.Argv{}
	}
	return event.Argv{Args: []string{s}, Joined: true}
}

func user(name string) event.Cred { return event.Cred{NoUID: true, NoGID: true, User: name} }

func account(domain, name string) string {
	switch {
	case name == "":
		return ""
	case domain == "":
		return name
	}
	return domain + `\` + name
}

// containerDomain is the domain of the users that Windows containers bring.
const containerDomain = `user manager\`

func place(user string) lineage.Place {
	if strings.HasPrefix(strings.ToLower(user), containerDomain) {
		return lineage.Inside
	}
	return lineage.Unknown
}

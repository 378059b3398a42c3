// Package winevent reads the start and the end of processes in Windows event
// form: Sysmon's on Windows and Linux (events 1 and 5) and the Security log's
// (4688 and 4689).
//
// Two forms are read: the event's own XML ("<Event><System>…"), one or more a
// line, as `wevtutil qe /f:xml` and Sysmon for Linux (in syslog) write it; and
// the JSON of Winlogbeat 7 and later (winlog.event_data). The JSON of EvtxECmd,
// evtx_dump, NXLog, Winlogbeat 6, and of Winlogbeat's module that renames the
// fields, is refused by name.
//
// Source: the System and EventData elements of Windows' event schema; Sysmon's
// documentation (event 1: UtcTime, ProcessGuid, ProcessId, Image, CommandLine,
// User, ParentProcessGuid, ParentProcessId, ParentImage, ParentCommandLine; event
// 5); Windows' documentation of events 4688 (NewProcessId, NewProcessName,
// ProcessId, ParentProcessName, CommandLine, SubjectUserName) and 4689.
//
// What they tell: one command line, which on Windows is what the process itself
// gets; the user's name; the parent; Sysmon an id of its own for each process,
// the Security log the pid only. Times: Sysmon's in milliseconds. What they do
// not tell: containers, uids. On Windows, a process that CExecSvc.exe started, or
// that runs as a user of the domain "User Manager" (ContainerAdministrator,
// ContainerUser), is in a container, which cannot be told; on Linux the command
// line of a runtime or a shim may name it.
package winevent

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
	"github.com/sallyport/sallyport/internal/lib/logfile"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Sniff reports whether a record is in one of the forms that Record reads or
// refuses by name.
func Sniff(record []byte) bool {
	if start(record) >= 0 {
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(record), []byte("{")) && json.Valid(record) && (refuse(record) != nil || isWinlogbeat(record))
}

// Reader makes observations of one log. It is not safe for concurrent use.
type Reader struct {
	sysmon, security *lineage.Tracker
	other            int
}

// New returns a reader.
func New() *Reader {
	lacks := []string{"containers", "uids", "where one argument ends", "terminals"}
	return &Reader{
		sysmon: lineage.New(event.WitnessState{
			Header: event.Header{Witness: event.WitnessSysmon}, NoExits: true, Precision: event.Duration(time.Millisecond), Lacks: lacks,
		}),
		security: lineage.New(event.WitnessState{Header: event.Header{Witness: event.WitnessSecurity}, NoExits: true, Lacks: lacks}),
	}
}

// Inside counts programs in containers whose way in the log does not show.
func (r *Reader) Inside() int { return r.sysmon.Inside + r.security.Inside }

// Other counts events that are no starts or ends of processes.
func (r *Reader) Other() int { return r.other }

// record is an event in either form.
type record struct {
	provider, computer string
	id                 int
	time               time.Time
	data               map[string]string // EventData, by the names that the event's schema gives
}

var (
	errNoEvent = errors.New("no event of Windows' event schema")
	errTwice   = errors.New("an event that has a value twice")
)

// Record reads one record: a line of XML, which may hold several events, or a
// JSON object.
func (r *Reader) Record(data []byte) ([]event.Observation, error) {
	i := start(data)
	if i < 0 {
		rec, err := fromJSON(data)
		if err != nil {
			return nil, err
		}
		return r.event(rec)
	}
	var out []event.Observation
	for i >= 0 {
		data = data[i:]
		end := bytes.Index(data, []byte("</Event>"))
		if end < 0 {
			return out, fmt.Errorf("%w: the event does not end on its line", errNoEvent)
		}
		end += len("</Event>")
		rec, err := fromXML(data[:end])
		if err != nil {
			return out, err
		}
		obs, err := r.event(rec)
		if err != nil {
			return out, err
		}
		out = append(out, obs...)
		data = data[end:]
		i = start(data)
	}
	return out, nil
}

// start returns where an <Event> begins, or -1.
func start(data []byte) int {
	for _, tag := range []string{"<Event>", "<Event "} {
		if i := bytes.Index(data, []byte(tag)); i >= 0 {
			return i
		}
	}
	return -1
}

type xmlEvent struct {
	System struct {
		Provider struct {
			Name string `xml:"Name,attr"`
		}
		EventID     int
		Computer    string
		TimeCreated struct {
			SystemTime string `xml:"SystemTime,attr"`
		}
	}
	EventData struct {
		Data []struct {
			Name string `xml:"Name,attr"`
			Text string `xml:",chardata"`
		}
	}
}

func fromXML(data []byte) (record, error) {
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.Entity = map[string]string{}
	var x xmlEvent
	if err := dec.Decode(&x); err != nil {
		return record{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return record{}, errNoEvent
	}
	rec := record{provider: x.System.Provider.Name, computer: x.System.Computer, id: x.System.EventID, data: map[string]string{}}
	for _, d := range x.EventData.Data {
		if _, twice := rec.data[d.Name]; twice && d.Name != "" {
			return rec, fmt.Errorf("%w: %.40q", errTwice, d.Name)
		}
		rec.data[d.Name] = d.Text
	}
	var err error
	rec.time, err = time.Parse(time.RFC3339Nano, x.System.TimeCreated.SystemTime)
	return rec, err
}

// event makes observations of an event.
func (r *Reader) event(rec record) ([]event.Observation, error) {
	switch {
	case rec.provider == "" || rec.id == 0:
		return nil, errNoEvent
	case rec.sysmon() && rec.id == 1:
		return r.started(rec)
	case rec.sysmon() && rec.id == 5:
		return r.ended(rec)
	case rec.provider == "Microsoft-Windows-Security-Auditing" && rec.id == 4688:
		return r.created(rec)
	case rec.provider == "Microsoft-Windows-Security-Auditing" && rec.id == 4689:
		return r.exited(rec)
	}
	r.other++
	return nil, nil
}

func (rec *record) sysmon() bool {
	return rec.provider == "Microsoft-Windows-Sysmon" || rec.provider == "Linux-Sysmon"
}

// winlogbeat is what Winlogbeat 7 and later make of an event.
type winlogbeat struct {
	Time   time.Time `json:"@timestamp"`
	Winlog *struct {
		Provider string                     `json:"provider_name"`
		ID       json.RawMessage            `json:"event_id"`
		Computer string                     `json:"computer_name"`
		Data     map[string]json.RawMessage `json:"event_data"`
	} `json:"winlog"`
}

func isWinlogbeat(data []byte) bool {
	var w winlogbeat
	return json.Unmarshal(data, &w) == nil && w.Winlog != nil && w.Winlog.Provider != ""
}

func fromJSON(data []byte) (record, error) {
	var w winlogbeat
	if err := refuse(data); err != nil {
		return record{}, err
	}
	if err := plainjson.Unmarshal(data, &w); err != nil {
		return record{}, err
	}
	if w.Winlog == nil || w.Time.IsZero() {
		return record{}, errNoEvent
	}
	rec := record{provider: w.Winlog.Provider, computer: w.Winlog.Computer, time: w.Time, data: map[string]string{}}
	id := strings.Trim(string(w.Winlog.ID), `"`)
	if _, err := fmt.Sscanf(id, "%d", &rec.id); err != nil {
		return rec, errNoEvent
	}
	for name, raw := range w.Winlog.Data {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			s = string(raw) // a number
		}
		rec.data[name] = s
	}
	return rec, nil
}

// ErrForm says that a record is in a form that is known and not read.
type ErrForm struct{ Form string }

// Error implements error.
func (e *ErrForm) Error() string {
	return "events as " + e.Form + " writes them are refused: export XML (wevtutil qe /f:xml), or use Winlogbeat without its module"
}

// Unwrap says that it is refused.
func (e *ErrForm) Unwrap() error { return logfile.ErrRefused }

// refuse names the forms that are not read, by the members that only they have.
func refuse(data []byte) error {
	var probe struct {
		PayloadData json.RawMessage `json:"PayloadData1"`
		Payload     json.RawMessage
		MapDesc     json.RawMessage `json:"MapDescription"`
		Event       *struct {
			System json.RawMessage
		}
		SourceModuleName json.RawMessage
		EventData        json.RawMessage `json:"event_data"`
		SourceName       json.RawMessage `json:"source_name"`
		Winlog           *struct {
			Provider string                     `json:"provider_name"`
			Data     map[string]json.RawMessage `json:"event_data"`
		} `json:"winlog"`
		Process *struct {
			EntityID json.RawMessage `json:"entity_id"`
			PID      json.RawMessage `json:"pid"`
		} `json:"process"`
	}
	if json.Unmarshal(data, &probe) != nil {
		return nil
	}
	switch {
	case probe.Payload != nil && (probe.PayloadData != nil || probe.MapDesc != nil):
		return &ErrForm{"EvtxECmd"}
	case probe.Event != nil && probe.Event.System != nil:
		return &ErrForm{"evtx_dump"}
	case probe.SourceModuleName != nil:
		return &ErrForm{"NXLog"}
	case probe.EventData != nil && probe.SourceName != nil:
		return &ErrForm{"Winlogbeat 6"}
	case probe.Winlog != nil && probe.Process != nil && (probe.Process.EntityID != nil || probe.Process.PID != nil) && probe.Winlog.Data["ProcessId"] == nil:
		return &ErrForm{"Winlogbeat's module"}
	}
	return nil
}

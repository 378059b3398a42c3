package winevent_test

import (
	"errors"
	"testing"

	"github.com/sallyport/sallyport/internal/hostlog/winevent"
	"github.com/sallyport/sallyport/internal/lib/logfile"
)

// TestOtherFormsAreRefusedByName: whoever has one of them is told what to export
// instead.
func TestOtherFormsAreRefusedByName(t *testing.T) {
	for form, line := range map[string]string{
		"EvtxECmd":            `{"PayloadData1":"ProcessID: 1","MapDescription":"Process creation","EventId":1,"Provider":"Microsoft-Windows-Sysmon","Payload":"{}"}`,
		"evtx_dump":           `{"Event":{"#attributes":{"xmlns":"x"},"System":{"EventID":1},"EventData":{}}}`,
		"NXLog":               `{"EventTime":"2026-11-23 12:00:00","EventID":1,"SourceModuleName":"in","SourceName":"Microsoft-Windows-Sysmon"}`,
		"Winlogbeat 6":        `{"@timestamp":"2026-11-23T12:00:00Z","event_id":1,"source_name":"Microsoft-Windows-Sysmon","event_data":{}}`,
		"Winlogbeat's module": `{"@timestamp":"2026-11-23T12:00:00Z","process":{"entity_id":"{1}","pid":4},"winlog":{"provider_name":"Microsoft-Windows-Sysmon","event_id":1}}`,
	} {
		_, err := winevent.New().Record([]byte(line))
		var got *winevent.ErrForm
		if !errors.As(err, &got) || got.Form != form || !errors.Is(err, logfile.ErrRefused) || !winevent.Sniff([]byte(line)) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

func TestAmbiguousEventsAreNotTaken(t *testing.T) {
	const head = `<Event><System><Provider Name="Microsoft-Windows-Sysmon"/><EventID>1</EventID><TimeCreated SystemTime="2026-11-23T12:00:00Z"/></System><EventData>`
	for name, line := range map[string]string{
		"a value twice":    head + `<Data Name="ProcessId">1</Data><Data Name="ProcessId">2</Data></EventData></Event>`,
		"no process":       head + `</EventData></Event>`,
		"an entity":        `<Event><System><Provider Name="&x;"/></System></Event>`,
		"no end":           head,
		"a member twice":   `{"@timestamp":"2026-11-23T12:00:00Z","winlog":{"provider_name":"Microsoft-Windows-Sysmon","event_id":1,"Event_ID":5}}`,
		"no number":        `{"@timestamp":"2026-11-23T12:00:00Z","winlog":{"provider_name":"Microsoft-Windows-Sysmon","event_id":"x"}}`,
		"a pid too large":  head + `<Data Name="ProcessGuid">{1}</Data><Data Name="ProcessId">99999999999</Data></EventData></Event>`,
		"nothing of these": `{"a":1}`,
	} {
		if out, err := winevent.New().Record([]byte(line)); err == nil || len(out) > 0 {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

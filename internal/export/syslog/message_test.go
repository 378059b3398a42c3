package syslog_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/syslog"
)

func format() export.Format { return syslog.Format(exporttest.Origin(), syslog.Enterprise) }

func TestGolden(t *testing.T) { exporttest.Golden(t, format(), nil) }

// TestAnotherParserReadsIt has an RFC 5424 parser that is not ours read every
// message.
func TestAnotherParserReadsIt(t *testing.T) {
	check := func(name string, r export.Record) {
		m := parse(t, r)
		if *m.Facility != 13 || *m.Appname != "sallyport" || m.Timestamp == nil || m.Hostname == nil || m.MsgID == nil {
			t.Errorf("%s: %+v", name, m)
		}
		id := ""
		for element, params := range *m.StructuredData {
			if element != "session@32473" && element != "finding@32473" {
				t.Errorf("%s: element %s", name, element)
			}
			id = params["id"]
		}
		if r.Session != nil && id != string(r.Session.ID) || r.Finding != nil && id != string(r.Finding.ID) {
			t.Errorf("%s: id %q", name, id)
		}
	}
	for _, r := range exporttest.Records() {
		check("record", r)
	}
	for name, r := range exporttest.Corpus(t, "../../..") {
		check(name, r)
	}
}

func parse(t interface{ Fatalf(string, ...any) }, r export.Record) *rfc5424.SyslogMessage {
	messages, err := format().Encode(r)
	if err != nil || len(messages) != 1 || len(messages[0]) > syslog.MaxMessage || !utf8.Valid(messages[0]) {
		t.Fatalf("%q, %v", messages, err)
	}
	m, err := rfc5424.NewParser().Parse(messages[0])
	if err != nil {
		t.Fatalf("%v in %q", err, messages[0])
	}
	return m.(*rfc5424.SyslogMessage)
}

// TestHostileValues puts anything where a container or a client puts text.
func TestHostileValues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\]\[\\"= \x00-\x1f\x7f-\xff]{0,40}`), rapid.Just(strings.Repeat(`\]"`, 6000)))
		s := session.Session{
			ID: "aaaaaaaaaaaaaaaa", Kind: session.KindExec, Argv: rapid.SliceOf(text).Draw(rt, "argv"),
			Target: session.Target{
				ContainerName: text.Draw(rt, "name"), Namespace: text.Draw(rt, "namespace"), Pod: text.Draw(rt, "pod"),
				Image: text.Draw(rt, "image"), Node: text.Draw(rt, "node"),
			},
			Actor:       session.Actor{User: text.Draw(rt, "user"), Address: text.Draw(rt, "address")},
			Unexplained: session.Unexplained{Reason: text.Draw(rt, "reason")},
		}
		m := parse(rt, export.Record{Session: &s})
		if got := (*m.StructuredData)["session@32473"]["id"]; got != "aaaaaaaaaaaaaaaa" || *m.MsgID != "session.exec" {
			rt.Fatalf("id %q, message id %q", got, *m.MsgID)
		}
		f := finding.Finding{ID: "b", Rule: text.Draw(rt, "rule"), Title: text.Draw(rt, "title"), Subject: text.Draw(rt, "subject")}
		parse(rt, export.Record{Finding: &f})
	})
}

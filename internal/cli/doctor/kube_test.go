package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/watch"
)

// apiServer answers doctor's questions.
type apiServer struct {
	code map[string]int    // 200 unless it says otherwise
	body map[string]string // by path
	err  error
}

func (s *apiServer) ask(_ context.Context, path string) (int, []byte, error) {
	if code := s.code[path]; code != 0 {
		return code, nil, s.err
	}
	return http.StatusOK, []byte(s.body[path]), s.err
}

// hook is a webhook that runs, and the configuration by which the API server
// knows it.
func hook(t *testing.T) (url, ca string) {
	t.Helper()
	cert, pem, err := admission.Certificate(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	if server.TLS, err = admission.ServerTLS(cert, ""); err != nil {
		t.Fatal(err)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, base64.StdEncoding.EncodeToString(pem)
}

const registered = `{"webhooks":[{"name":"sessions.sallyport.dev","clientConfig":{"url":%q,"caBundle":%q},"failurePolicy":%q,"timeoutSeconds":%d,
"rules":[{"operations":["CONNECT"],"resources":["pods/exec"]}]}]}`

const calls = `apiserver_admission_webhook_request_total{code="200",name="sessions.sallyport.dev",operation="CONNECT",rejected="false",type="validating"} %d
apiserver_admission_webhook_fail_open_count{name="sessions.sallyport.dev",type="validating"} %d
apiserver_admission_webhook_fail_open_count{name="other",type="validating"} 99
`

// expectGrade looks for a check and what it says.
func expectGrade(t *testing.T, all []diagnosis, check string, want grade, remedy string) {
	t.Helper()
	i := slices.IndexFunc(all, func(d diagnosis) bool { return d.Check == check })
	if i < 0 {
		t.Errorf("no check %q in %+v", check, all)
		return
	}
	d := all[i]
	if d.Grade != want || !strings.Contains(strings.Join(d.Remedy, "\n"), remedy) {
		t.Errorf("%s: %s, want %s, with a remedy that says %q: %+v", check, d.Grade, want, remedy, d)
	}
	if (d.Grade == gradeDegraded || d.Grade == gradeMissing) && len(d.Remedy) == 0 {
		t.Errorf("%s has no remedy", check)
	}
}

func TestDoctorOnKubernetes(t *testing.T) {
	url, ca := hook(t)
	_, otherCA := hook(t)
	const metrics = api.MetricsPath
	good := fmt.Sprintf(registered, url, ca, "Ignore", 3)
	for name, tc := range map[string]struct {
		server apiServer
		check  string
		grade  grade
		remedy string
	}{
		"API server":    {apiServer{}, "API server", gradeOK, ""},
		"no answer":     {apiServer{err: errors.New("connection refused")}, "API server", gradeDegraded, "--kubeconfig"},
		"pods":          {apiServer{}, "pods", gradeOK, ""},
		"no list":       {apiServer{code: map[string]int{podsPath: 403}}, "pods", gradeDegraded, "kube rbac"},
		"no watch":      {apiServer{code: map[string]int{watchPath: 403}}, "pods", gradeDegraded, "kube rbac"},
		"strangers":     {apiServer{code: map[string]int{podsPath: 401}}, "pods", gradeDegraded, "credentials"},
		"no webhook":    {apiServer{code: map[string]int{admission.RegistrationPath: 404}}, "admission", gradeNote, "webhook-config"},
		"no permission": {apiServer{code: map[string]int{admission.RegistrationPath: 403}}, "admission", gradeNote, "kube rbac"},
		"told":          {apiServer{body: map[string]string{admission.RegistrationPath: good}}, "admission", gradeOK, ""},
		"not ours":      {apiServer{body: map[string]string{admission.RegistrationPath: `{}`}}, "admission", gradeDegraded, "webhook-config"},
		"no exec":       {apiServer{body: map[string]string{admission.RegistrationPath: strings.Replace(good, "CONNECT", "CREATE", 1)}}, "admission", gradeDegraded, "webhook-config"},
		"fails":         {apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, url, ca, "Fail", 3)}}, "admission", gradeNote, "webhook-config"},
		"impatient":     {apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, url, ca, "Ignore", 1)}}, "admission", gradeDegraded, "admission.hold"},
		"answers":       {apiServer{body: map[string]string{admission.RegistrationPath: good}}, "admission webhook", gradeOK, ""},
		"another CA":    {apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, url, otherCA, "Ignore", 3)}}, "admission webhook", gradeDegraded, "webhook-config"},
		"another name":  {apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, strings.Replace(url, "127.0.0.1", "localhost", 1), ca, "Ignore", 3)}}, "admission webhook", gradeDegraded, "webhook-config"},
		"nobody there":  {apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, "https://127.0.0.1:1", ca, "Ignore", 3)}}, "admission webhook", gradeDegraded, "sallyport up --admission"},
		"not called":    {apiServer{body: map[string]string{admission.RegistrationPath: good}}, "admission calls", gradeNote, "kubectl exec"},
		"called":        {apiServer{body: map[string]string{admission.RegistrationPath: good, metrics: fmt.Sprintf(calls, 7, 0)}}, "admission calls", gradeOK, ""},
		"out of reach":  {apiServer{body: map[string]string{admission.RegistrationPath: good, metrics: fmt.Sprintf(calls, 0, 3)}}, "admission calls", gradeDegraded, "open the way"},
		"now and then":  {apiServer{body: map[string]string{admission.RegistrationPath: good, metrics: fmt.Sprintf(calls, 7, 3)}}, "admission calls", gradeNote, ""},
		"no metrics":    {apiServer{body: map[string]string{admission.RegistrationPath: good}, code: map[string]int{metrics: 403}}, "admission calls", gradeNote, "kube rbac"},
	} {
		t.Run(name, func(t *testing.T) {
			x := well()
			x.kube, x.now = tc.server.ask, time.Now
			expectGrade(t, x.examine(t.Context()).diagnoses, tc.check, tc.grade, tc.remedy)
		})
	}
	x := well()
	for _, run := range []func(context.Context) []diagnosis{x.checkKube, x.checkPods, x.checkAdmission, x.checkCanary} {
		if d := run(t.Context()); d != nil {
			t.Errorf("without a kubeconfig: %+v", d)
		}
	}
	x.conf.AdmissionListen = "127.0.0.1:9443"
	expectGrade(t, x.checkAdmission(t.Context()), "admission", gradeNote, "--kubeconfig")
}

// TestDoctorOnAService: a webhook behind a service is not reached from here; its
// certificate is looked at.
func TestDoctorOnAService(t *testing.T) {
	x := well()
	x.conf.State = t.TempDir()
	_, ca, err := admission.Certificate(filepath.Join(x.conf.State, statedir.Admission), []string{"hook.sallyport.svc"})
	if err != nil {
		t.Fatal(err)
	}
	config := func(service string) string {
		return fmt.Sprintf(`{"webhooks":[{"name":"sessions.sallyport.dev","clientConfig":{"service":{"namespace":"sallyport","name":%q},"caBundle":%q},
"failurePolicy":"Ignore","timeoutSeconds":3,"rules":[{"operations":["CONNECT"],"resources":["pods/exec"]}]}]}`, service, base64.StdEncoding.EncodeToString(ca))
	}
	x.now = time.Now
	ask := func(service string) []diagnosis {
		x.kube = (&apiServer{body: map[string]string{admission.RegistrationPath: config(service)}}).ask
		return x.checkAdmission(t.Context())
	}
	expectGrade(t, ask("hook"), "admission certificate", gradeOK, "")
	expectGrade(t, ask("other"), "admission certificate", gradeDegraded, "webhook-config --service")
	x.now = func() time.Time { return time.Now().Add(350 * 24 * time.Hour) }
	expectGrade(t, ask("hook"), "admission certificate", gradeDegraded, "anew")
	x.conf.State = t.TempDir()
	expectGrade(t, ask("hook"), "admission certificate", gradeNote, "--state")
}

// TestDoctorSendsACanary: it must be in the log that was named.
func TestDoctorSendsACanary(t *testing.T) {
	x := well()
	x.conf.State, x.conf.AuditLog = t.TempDir(), filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(x.conf.AuditLog, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.kube = func(_ context.Context, path string) (int, []byte, error) {
		return http.StatusForbidden, nil, os.WriteFile(x.conf.AuditLog, []byte(`{"requestURI":"`+path+`"}`+"\n"), 0o600)
	}
	expectGrade(t, x.checkCanary(t.Context()), "audit canary", gradeOK, "")
	x.kube = (&apiServer{}).ask
	expectGrade(t, x.checkCanary(t.Context()), "audit canary", gradeDegraded, "audit-policy")
}

func TestDoctorAsksARunningUp(t *testing.T) {
	ahead, offset, wrong := int64(time.Second), int64(2*time.Minute), int64(time.Millisecond)
	feed := func(up bool, reason string, canaries, dropped uint64) watch.Status {
		return watch.Status{
			Witnesses: []watch.WitnessStatus{{Name: event.WitnessAudit, Up: up, Reason: reason}},
			Counters:  map[string]uint64{"audit_canaries": canaries, "audit_dropped": dropped},
		}
	}
	linked := watch.Link{Connected: true, Since: well().now(), Waiting: 3, AheadNS: &ahead}
	down, lossy, full, off := linked, linked, linked, linked
	down.Connected, lossy.Lost, full.SpoolError, off.AheadNS = false, 9, "disk full", &offset
	node := watch.NodeStatus{Name: "alpha", Connected: true, ClockOffsetNS: &ahead, ClockErrorNS: &wrong}
	gone, strange, late, blind := node, node, node, node
	gone.Connected, strange.Foreign, late.ClockOffsetNS = false, 2, &offset
	blind.Witnesses = []watch.WitnessStatus{{Name: event.WitnessKernel, Reason: "no BTF"}}
	for name, tc := range map[string]struct {
		status watch.Status
		check  string
		grade  grade
		remedy string
	}{
		"audit":        {feed(true, "", 4, 0), "audit canary", gradeOK, ""},
		"silent audit": {feed(false, "silent", 4, 0), "audit canary", gradeDegraded, "audit-policy"},
		"dropped":      {feed(true, "", 4, 7), "audit canary", gradeDegraded, "Error in audit plugin"},
		"no canary":    {feed(true, "", 0, 0), "audit canary", gradeNote, "--kubeconfig"},
		"linked":       {watch.Status{Link: &linked}, "link", gradeOK, ""},
		"not linked":   {watch.Status{Link: &down}, "link", gradeDegraded, "collector"},
		"lossy spool":  {watch.Status{Link: &lossy}, "link", gradeDegraded, "--node-spool"},
		"full disk":    {watch.Status{Link: &full}, "link", gradeMissing, "df -h"},
		"clock":        {watch.Status{Link: &off}, "link", gradeDegraded, "timedatectl"},
		"node":         {watch.Status{Nodes: []watch.NodeStatus{node}}, "node alpha", gradeOK, ""},
		"node gone":    {watch.Status{Nodes: []watch.NodeStatus{gone}}, "node alpha", gradeDegraded, "doctor --node"},
		"node lies":    {watch.Status{Nodes: []watch.NodeStatus{strange}}, "node alpha", gradeDegraded, "look at that node"},
		"node's clock": {watch.Status{Nodes: []watch.NodeStatus{late}}, "node alpha", gradeDegraded, "timedatectl"},
		"node blind":   {watch.Status{Nodes: []watch.NodeStatus{blind}}, "node alpha", gradeDegraded, "sallyport doctor"},
		"no node":      {watch.Status{}, "nodes", gradeNote, "doctor --node"},
	} {
		t.Run(name, func(t *testing.T) {
			x := well()
			x.status = func() (*watch.Status, error) { return &tc.status, nil }
			all := append(x.checkCanary(t.Context()), x.nodes(&tc.status)...)
			expectGrade(t, append(all, x.linked()), tc.check, tc.grade, tc.remedy)
		})
	}
}

// TestDoctorOnNodes: certificates, the way to the collector and the spool, with a
// collector that runs.
func TestDoctorOnNodes(t *testing.T) {
	pki := t.TempDir()
	a, err := link.OpenAuthority(pki)
	if err != nil {
		t.Fatal(err)
	}
	collector, err := a.Collector("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	alpha, err := a.Node("alpha")
	if err != nil {
		t.Fatal(err)
	}
	other, err := link.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Node("alpha")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := collector.Server()
	if err != nil {
		t.Fatal(err)
	}
	c, err := link.NewCollector(link.CollectorOptions{Address: "127.0.0.1:0", TLS: secure, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	address, err := c.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, func(event.Observation) {}) }()
	defer func() { cancel(); <-done }()

	conf := config.Config{
		State: t.TempDir(), NodeCollector: address.String(), NodeCert: alpha.Cert, NodeKey: alpha.Key, NodeCA: alpha.CA, NodeSpool: 1 << 20,
		CollectListen: "127.0.0.1:0", CollectCert: collector.Cert, CollectKey: collector.Key, CollectCA: collector.CA,
	}
	for name, tc := range map[string]struct {
		change func(*exam)
		check  string
		grade  grade
		remedy string
	}{
		"certificate":         {func(*exam) {}, "node certificate", gradeOK, ""},
		"answers":             {func(*exam) {}, "collector", gradeOK, ""},
		"spool":               {func(*exam) {}, "spool", gradeOK, ""},
		"not running":         {func(*exam) {}, "link", gradeNote, "start it"},
		"no certificate":      {func(x *exam) { x.conf.NodeCert = "/nonexistent" }, "node certificate", gradeMissing, "node certs"},
		"another's":           {func(x *exam) { x.conf.NodeName = "beta" }, "node certificate", gradeMissing, "node certs"},
		"wrong usage":         {func(x *exam) { x.conf.NodeCert, x.conf.NodeKey = collector.Cert, collector.Key }, "node certificate", gradeMissing, "node certs"},
		"soon over":           {func(x *exam) { x.now = func() time.Time { return time.Now().Add(820 * 24 * time.Hour) } }, "node certificate", gradeDegraded, "node certs"},
		"over":                {func(x *exam) { x.now = func() time.Time { return time.Now().Add(900 * 24 * time.Hour) } }, "node certificate", gradeMissing, "node certs"},
		"too early":           {func(x *exam) { x.now = func() time.Time { return time.Now().Add(-900 * 24 * time.Hour) } }, "node certificate", gradeMissing, "timedatectl"},
		"not of the circle":   {func(x *exam) { x.conf.NodeCert, x.conf.NodeKey = stranger.Cert, stranger.Key }, "collector", gradeMissing, "--collect-ca"},
		"another authority":   {func(x *exam) { x.conf.NodeCA = stranger.CA }, "collector", gradeMissing, "--collector-ca"},
		"another host":        {func(x *exam) { x.conf.NodeCollector = strings.Replace(address.String(), "127.0.0.1", "localhost", 1) }, "collector", gradeMissing, "names it"},
		"nobody there":        {func(x *exam) { x.conf.NodeCollector = "127.0.0.1:1" }, "collector", gradeMissing, "start the collector"},
		"spool too large":     {func(x *exam) { x.conf.NodeSpool = 1 << 60 }, "spool", gradeDegraded, "--node-spool"},
		"spool not writable":  {func(x *exam) { x.dir = func(string) (dirFacts, error) { return dirFacts{}, nil } }, "spool", gradeMissing, "install -d"},
		"collector":           {func(*exam) {}, "collector certificate", gradeOK, ""},
		"collector for none":  {func(x *exam) { x.conf.CollectCert, x.conf.CollectKey = alpha.Cert, alpha.Key }, "collector certificate", gradeMissing, "node certs"},
		"collector lacks":     {func(x *exam) { x.conf.CollectKey = "/nonexistent" }, "collector certificate", gradeMissing, "node certs"},
		"collector soon over": {func(x *exam) { x.now = func() time.Time { return time.Now().Add(820 * 24 * time.Hour) } }, "collector certificate", gradeDegraded, "node certs"},
	} {
		t.Run(name, func(t *testing.T) {
			x := well()
			x.conf, x.now, x.dir = conf, time.Now, lookAtDir
			tc.change(x)
			expectGrade(t, append(x.checkNode(t.Context()), x.checkCollector(t.Context())...), tc.check, tc.grade, tc.remedy)
		})
	}
	x := well()
	x.conf.CollectListen, x.conf.CollectCert, x.conf.CollectKey, x.conf.CollectCA = address.String(), collector.Cert, collector.Key, collector.CA
	x.now = time.Now
	expectGrade(t, x.checkCollector(t.Context()), "collector", gradeMissing, "ss -ltnp")
	if s := c.Status(); len(s) != 0 {
		t.Errorf("doctor was taken for a node: %+v", s)
	}
}

// TestDoctorGivesKubernetes: what the API server has counts for channels.
func TestDoctorGivesKubernetes(t *testing.T) {
	url, ca := hook(t)
	x := well()
	x.kube = (&apiServer{body: map[string]string{admission.RegistrationPath: fmt.Sprintf(registered, url, ca, "Ignore", 3)}}).ask
	x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{Events: 1, Newest: x.now()}, nil)
	if missing := slices.DeleteFunc(attack.Needs(), func(n attack.Need) bool { return slices.Contains(x.examine(t.Context()).have, n) }); len(missing) > 0 {
		t.Errorf("lacks %v", missing)
	}
	var out strings.Builder
	up := x.examine(t.Context())
	if err := up.lines(&out, terminal.Palette{}); err != nil || !json.Valid([]byte(strings.SplitN(out.String(), "\n", 2)[0])) {
		t.Errorf("%v: %s", err, &out)
	}
}

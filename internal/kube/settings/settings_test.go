package settings_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/settings"
)

const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// machine has a file for each pair of a path and a text.
func machine(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return m
}

func short(k *inventory.Kubelet) string {
	var b strings.Builder
	b.WriteString("anonymous " + k.Anonymous.String() + ", webhook " + k.Webhook.String() + ", " + k.Authorization)
	if *k.ReadOnlyPort != 0 {
		b.WriteString(", read-only")
	}
	for _, s := range k.Set {
		b.WriteString("\n" + s.Name + "=" + s.Value + " " + s.Origin.Source)
		if s.Origin.Line > 0 {
			b.WriteString(":" + string(rune('0'+s.Origin.Line)))
		}
	}
	return b.String()
}

func TestKubelet(t *testing.T) {
	const good = "anonymous no, webhook yes, Webhook"
	files := machine(
		"etc/k.yaml", head+"authentication:\n  anonymous: {enabled: true}\nauthorization: {mode: AlwaysAllow}\n",
		"etc/empty.yaml", head,
		"etc/blank.yaml", "\n\n"+head+"port: 1\n",
		"etc/d/10-a.conf", head+"authentication: {anonymous: {enabled: true}}\n",
		"etc/d/9-z.conf", head+"authorization: {mode: Webhook}\n",
		"etc/d/sub/99.conf", head+"readOnlyPort: 10255\n",
		"etc/d/20.yaml", head+"port: 1\n",
		"etc/null/1.conf", head+"authentication: null\n",
		"etc/bad/1.conf", "kind: KubeletConfiguration\n",
		"etc/case.yaml", head+"Authentication: {anonymous: {enabled: true}}\n",
		"etc/twice.yaml", head+"port: 1\nport: 2\n",
		"etc/type.yaml", head+"authentication: {anonymous: {enabled: \"true\"}}\n",
	)
	for name, c := range map[string]struct{ args, want, err string }{
		"no file":          {"", "anonymous yes, webhook no, AlwaysAllow, read-only", ""},
		"no file, flags":   {"--anonymous-auth=false --authorization-mode Webhook --read-only-port=0 --authentication_token_webhook", good + "\nauthentication.anonymous.enabled=false cmd\nauthentication.webhook.enabled=true cmd\nauthorization.mode=Webhook cmd\nreadOnlyPort=0 cmd", ""},
		"blank lines":      {"--config=/etc/blank.yaml", good + "\nport=1 /etc/blank.yaml:5", ""},
		"empty file":       {"--config=/etc/empty.yaml", good, ""},
		"file":             {"--config /etc/k.yaml --v 2", "anonymous yes, webhook yes, AlwaysAllow\nauthentication.anonymous.enabled=true /etc/k.yaml:4\nauthorization.mode=AlwaysAllow /etc/k.yaml:5", ""},
		"flags win":        {"--config=/etc/k.yaml --anonymous-auth=false --anonymous-auth=true --anonymous-auth=false --authorization-mode=Webhook", good + "\nauthentication.anonymous.enabled=false cmd\nauthorization.mode=Webhook cmd", ""},
		"relative":         {"--config=k.yaml --anonymous-auth=0", "anonymous no, webhook yes, AlwaysAllow\nauthentication.anonymous.enabled=false cmd\nauthorization.mode=AlwaysAllow /etc/k.yaml:5", ""},
		"drop-ins":         {"--config=/etc/k.yaml --config-dir=/etc/d", "anonymous yes, webhook yes, Webhook, read-only\nauthentication.anonymous.enabled=true /etc/d/10-a.conf:3\nauthorization.mode=Webhook /etc/d/9-z.conf:3\nreadOnlyPort=10255 /etc/d/sub/99.conf:3", ""},
		"null takes back":  {"--config=/etc/k.yaml --config-dir=/etc/null", "anonymous no, webhook yes, AlwaysAllow\nauthorization.mode=AlwaysAllow /etc/k.yaml:5", ""},
		"drop-in no kind":  {"--config=/etc/k.yaml --config-dir=/etc/bad", "", "/etc/bad/1.conf: no KubeletConfiguration"},
		"no such file":     {"--config=/etc/none", "", "file does not exist"},
		"case":             {"--config=/etc/case.yaml", "", `"Authentication"`},
		"twice":            {"--config=/etc/twice.yaml", "", "already"},
		"type":             {"--config=/etc/type.yaml", "", "wrong type"},
		"flag value":       {"--anonymous-auth=maybe", "", "anonymous-auth"},
		"flag is no value": {"--config=/etc/empty.yaml --anonymous-auth --port=7", "anonymous yes, webhook yes, Webhook\nauthentication.anonymous.enabled=true cmd\nport=7 cmd", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := settings.Kubelet(&settings.Process{Args: strings.Fields(c.args), Directory: "/etc", Origin: inventory.Origin{Source: "cmd"}, Files: files})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, short(k)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKubeletWithoutItsFilesIsUnknown(t *testing.T) {
	if k, err := settings.Kubelet(&settings.Process{Args: []string{"--config=/k"}}); err == nil {
		t.Errorf("told %+v", k)
	}
}

func TestConfigz(t *testing.T) {
	const good = `{"kubeletconfig":{"port":10250,"authentication":{"webhook":{"enabled":true},"anonymous":{"enabled":true}},"authorization":{"mode":"Webhook"},"seccompDefault":false}}`
	k, err := settings.Configz("f", 1, []byte(good))
	if err != nil || k.Anonymous != inventory.Yes || k.SeccompDefault != inventory.Unknown || *k.ReadOnlyPort != 0 {
		t.Errorf("%+v, %v", k, err)
	}
	for _, bad := range []string{`{}`, `{"kubeletconfig":{}}`, `{"kubeletconfig":null}`, `{"kubeletconfig":{"port":10250}}`, `[`} {
		if k, err := settings.Configz("f", 1, []byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, k)
		}
	}
}

const authn = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"

func TestAPIServer(t *testing.T) {
	files := machine(
		"authn.yaml", authn+"anonymous: {enabled: true, conditions: [{path: /livez}]}\n",
		"silent.yaml", authn+"jwt: []\n",
		"authz.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: Webhook, name: w}, {type: RBAC, name: r}]\n",
		"policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n",
		"exempt.yaml", "plugins: [{name: PodSecurity, configuration: {defaults: {enforce: baseline}, exemptions: {namespaces: [kube-system]}}}]\n",
		"elsewhere.yaml", "plugins: [{name: PodSecurity, path: p.yaml}]\n",
		"others.yaml", "plugins: [{name: X, configuration: {defaults: [1]}}]\n",
		"admission.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration: {kind: PodSecurityConfiguration, defaults: {enforce: baseline}}\n",
	)
	for name, c := range map[string]struct{ args, want string }{
		"nothing":                {"", "no AlwaysAllow privileged exec None"},
		"as kubeadm":             {"--authorization-mode=Node,RBAC", "yes Node,RBAC privileged exec None"},
		"twice":                  {"--authorization-mode=Node --authorization-mode RBAC --anonymous-auth=false", "no Node,RBAC privileged exec None"},
		"structured":             {"--authorization-config=/authz.yaml --authentication-config=/authn.yaml", "yes Webhook,RBAC privileged exec None /livez"},
		"file is silent":         {"--authorization-mode=RBAC --authentication-config=/silent.yaml --anonymous-auth=false", "no RBAC privileged exec None"},
		"files not there":        {"--authorization-config=/a --authentication-config=/b --audit-policy-file=/c --audit-log-path=- --admission-control-config-file=/d", "unknown   exec ? unread 4"},
		"audit":                  {"--authorization-mode=RBAC --audit-policy-file=/policy.yaml --audit-log-path=/log", "yes RBAC privileged exec Metadata"},
		"audit nowhere":          {"--authorization-mode=RBAC --audit-policy-file=/policy.yaml", "yes RBAC privileged exec None"},
		"pod security":           {"--authorization-mode=RBAC --admission-control-config-file=admission.yaml", "yes RBAC baseline exec None"},
		"pod security exempts":   {"--authorization-mode=RBAC --admission-control-config-file=/exempt.yaml", "yes RBAC  exec None unread 1"},
		"pod security elsewhere": {"--authorization-mode=RBAC --admission-control-config-file=/elsewhere.yaml", "yes RBAC  exec None unread 1"},
		"other plugins alone":    {"--authorization-mode=RBAC --admission-control-config-file=/others.yaml", "yes RBAC privileged exec None"},
		"pod security off": {"--authorization-mode=RBAC --admission-control-config-file=admission.yaml --disable-admission-plugins=PodSecurity",
			"yes RBAC privileged exec None"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := settings.APIServer(&settings.Process{Args: strings.Fields(c.args), Files: files})
			if err != nil {
				t.Fatal(err)
			}
			a := s.Settings
			got := a.Anonymous.String() + " " + strings.Join(a.Authorization, ",") + " " + a.PodSecurity + " exec "
			if a.AuditPolicy == nil {
				got += "?"
			} else {
				got += a.AuditPolicy.Exec
			}
			for _, p := range a.AnonymousPaths {
				got += " " + p
			}
			if n := len(s.Unread); n > 0 {
				got += " unread " + string(rune('0'+n))
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	for _, bad := range []string{"--anonymous-auth=x", "--authorization-config=/authz.yaml --authorization-mode=RBAC", "--anonymous-auth --authentication-config=/authn.yaml", "--authorization-mode=$(MODE)"} {
		if s, err := settings.APIServer(&settings.Process{Args: strings.Fields(bad), Files: files}); err == nil {
			t.Errorf("%s: %+v", bad, s.Settings)
		}
	}
	s, err := settings.APIServer(&settings.Process{Args: []string{"--feature-gates=A=true,B=false", "--feature-gates=kube:C=true"}})
	if want := map[string]bool{"A": true, "B": false, "C": true}; err != nil || !cmp.Equal(s.Gates, want) {
		t.Errorf("gates %v, %v", s.Gates, err)
	}
}

func policy(rules string) string {
	return "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + rules
}

func TestAuditPolicy(t *testing.T) {
	const rest = "- {level: Request}\n"
	for name, c := range map[string]struct {
		policy, exec string
		silent       []string
	}{
		"ours": {string(audit.MinimalPolicy), "Metadata", nil},
		"all":  {policy(rest), "Request", nil},
		"metadata alone": {policy("- {level: Metadata}\n"), "Metadata", []string{
			"patch pods/ephemeralcontainers: the command is not recorded, it stands in the body of the request (rule 1)",
			"update pods/ephemeralcontainers: the command is not recorded, it stands in the body of the request (rule 1)",
		}},
		"one user": {policy("- {level: None, users: [bob], resources: [{group: '', resources: [pods/exec]}]}\n" + rest), "Request", []string{
			"create pods/exec by bob: nothing is recorded (rule 1)", "get pods/exec by bob: nothing is recorded (rule 1)",
		}},
		"a user who is recorded before": {policy("- {level: Request, users: [bob, eve]}\n- {level: None, users: [bob]}\n" + rest), "Request", nil},
		"a user in a namespace that is recorded before": {policy("- {level: Request, users: [bob], namespaces: [a]}\n- {level: None, users: [bob], verbs: [get], resources: [{resources: [pods/exec]}]}\n" + rest), "Request", []string{
			"get pods/exec by bob: nothing is recorded (rule 2)",
		}},
		"pods alone are not their subresources": {policy("- {level: None, resources: [{group: '', resources: [pods]}]}\n" + rest), "Request", nil},
		"any subresource":                       {policy("- {level: None, verbs: [create], resources: [{group: '', resources: ['*/attach', 'nodes/*']}]}\n" + rest), "Request", []string{"create pods/attach: nothing is recorded (rule 1)", "create nodes/proxy: nothing is recorded (rule 1)"}},
		"another group":                         {policy("- {level: None, resources: [{group: apps}]}\n" + rest), "Request", nil},
		"one verb":                              {policy("- {level: None, verbs: [get], resources: [{group: '', resources: [pods/exec]}]}\n" + rest), "None", []string{"get pods/exec: nothing is recorded (rule 1)"}},
		"all stages left out":                   {policy("- {level: Metadata, omitStages: [RequestReceived, ResponseStarted, ResponseComplete], verbs: [get], resources: [{group: '', resources: [pods/exec]}]}\n" + rest), "None", []string{"get pods/exec: nothing is recorded (rule 1)"}},
		"other URLs":                            {policy("- {level: None, nonResourceURLs: ['*']}\n" + rest), "Request", nil},
		"a namespace and no node":               {policy("- {level: None, namespaces: [kube-system], verbs: [create], resources: [{resources: [pods/exec, nodes/proxy]}]}\n" + rest), "Request", []string{"create pods/exec in namespace kube-system: nothing is recorded (rule 1)"}},
		"a pod":                                 {policy("- {level: None, verbs: [create], resources: [{resources: [pods/exec], resourceNames: [web]}]}\n" + rest), "Request", []string{"create pods/exec of web: nothing is recorded (rule 1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := settings.AuditPolicy("f", 1, []byte(c.policy))
			if err != nil {
				t.Fatal(err)
			}
			if a.Exec != c.exec {
				t.Errorf("exec %s, want %s", a.Exec, c.exec)
			}
			if diff := cmp.Diff(c.silent, a.Silent); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{policy("[]"), policy("- {level: metadata}\n"), policy("- {level: None, omitStages: [X]}\n"), policy("- {level: None, nonResourceURLs: [/], namespaces: [a]}\n"), "kind: Policy\n", head} {
		if a, err := settings.AuditPolicy("f", 1, []byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, a)
		}
	}
}

func TestCloud(t *testing.T) {
	for name, c := range map[string]struct {
		doc, want string
	}{
		"EKS":                {`{"cluster":{"name":"a","resourcesVpcConfig":{"endpointPublicAccess":true,"endpointPrivateAccess":false,"publicAccessCidrs":["0.0.0.0/0"]}}}`, "yes 0.0.0.0/0"},
		"EKS ranges":         {`{"cluster":{"resourcesVpcConfig":{"endpointPublicAccess":true,"publicAccessCidrs":["192.0.2.0/24"]}}}`, "no 192.0.2.0/24"},
		"EKS private":        {`{"cluster":{"resourcesVpcConfig":{"endpointPublicAccess":false,"endpointPrivateAccess":true,"publicAccessCidrs":["0.0.0.0/0"]}}}`, "no "},
		"EKS does not say":   {`{"cluster":{"resourcesVpcConfig":{}}}`, "error"},
		"GKE":                {`{"name":"a","currentMasterVersion":"1.33.1-gke.1"}`, "yes "},
		"GKE ranges":         {`{"currentMasterVersion":"1","masterAuthorizedNetworksConfig":{"enabled":true,"cidrBlocks":[{"cidrBlock":"192.0.2.0/24"}],"gcpPublicCidrsAccessEnabled":true}}`, "no 192.0.2.0/24,any address of Google Cloud"},
		"GKE nobody":         {`{"currentMasterVersion":"1","masterAuthorizedNetworksConfig":{"enabled":true}}`, "no "},
		"GKE private":        {`{"currentMasterVersion":"1","privateClusterConfig":{"enablePrivateEndpoint":true}}`, "no "},
		"GKE DNS":            {`{"currentMasterVersion":"1","controlPlaneEndpointsConfig":{"dnsEndpointConfig":{"allowExternalTraffic":true},"ipEndpointsConfig":{}}}`, "yes "},
		"GKE no IP":          {`{"currentMasterVersion":"1","controlPlaneEndpointsConfig":{"dnsEndpointConfig":{},"ipEndpointsConfig":{"enabled":false}}}`, "no "},
		"GKE public IP":      {`{"currentMasterVersion":"1","controlPlaneEndpointsConfig":{"ipEndpointsConfig":{"enabled":true,"enablePublicEndpoint":true,"authorizedNetworksConfig":{"enabled":true,"cidrBlocks":[{"cidrBlock":"192.0.2.1/32"}]}}}}`, "no 192.0.2.1/32"},
		"AKS":                {`{"type":"Microsoft.ContainerService/managedClusters","apiServerAccessProfile":null}`, "yes "},
		"AKS ranges":         {`{"type":"Microsoft.ContainerService/managedClusters","apiServerAccessProfile":{"authorizedIpRanges":["192.0.2.0/24"],"enablePrivateCluster":null}}`, "no 192.0.2.0/24"},
		"AKS ranges, by API": {`{"type":"Microsoft.ContainerService/managedClusters","apiServerAccessProfile":{"authorizedIPRanges":["192.0.2.0/24"]}}`, "no 192.0.2.0/24"},
		"AKS private":        {`{"type":"Microsoft.ContainerService/managedClusters","apiServerAccessProfile":{"enablePrivateCluster":true}}`, "no "},
		"AKS odd range":      {`{"type":"Microsoft.ContainerService/managedClusters","apiServerAccessProfile":{"authorizedIpRanges":["home"]}}`, "error"},
		"another":            {`{"cluster":{}}`, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := settings.Cloud("f", 1, []byte(c.doc))
			got := "error"
			if err == nil {
				got = a.Public.String() + " " + strings.Join(a.Ranges, ",")
			}
			if got != c.want {
				t.Errorf("%s, want %s (%v)", got, c.want, err)
			}
		})
	}
}

// TestEKSAccess: how a cluster of EKS is told who is who.
func TestEKSAccess(t *testing.T) {
	for access, want := range map[string]inventory.Answer{
		``: inventory.Unknown, `,"accessConfig":{}`: inventory.Unknown, `,"accessConfig":{"authenticationMode":"API"}`: inventory.No,
		`,"accessConfig":{"authenticationMode":"API_AND_CONFIG_MAP"}`: inventory.Yes, `,"accessConfig":{"authenticationMode":"CONFIG_MAP"}`: inventory.Yes,
	} {
		a, err := settings.Cloud("f", 1, []byte(`{"cluster":{"resourcesVpcConfig":{"endpointPublicAccess":true}`+access+`}}`))
		if err != nil || a.ConfigMapAuth != want {
			t.Errorf("%s: %+v %v, want %s", access, a, err, want)
		}
	}
}

func FuzzKubelet(f *testing.F) {
	f.Add(head+"port: 1\n", "--config=/k --anonymous-auth")
	f.Add(head+"authentication: {anonymous: {enabled: null}}\n", "--config /k -v=2 --x")
	f.Fuzz(func(t *testing.T, file, args string) {
		p := &settings.Process{Args: strings.Fields(args), Files: machine("k", file)}
		if k, err := settings.Kubelet(p); err == nil && (k.Anonymous == inventory.Unknown || k.ReadOnlyPort == nil) {
			t.Errorf("neither known nor an error: %+v", k)
		}
		_, _ = settings.KubeletFile("k", 1, []byte(file))
		_, _ = settings.APIServer(p)
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add(policy("- {level: Metadata}\n"))
	f.Add(authn)
	f.Add(`{"cluster":{"resourcesVpcConfig":{"endpointPublicAccess":true}}}`)
	f.Add(`{"kubeletconfig":{"port":1}}`)
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := settings.AuditPolicy("f", 1, []byte(s)); err == nil && a.Exec == "" {
			t.Error("an audit policy of which nothing is known")
		}
		if a, err := settings.Cloud("f", 1, []byte(s)); err == nil && a.Public == inventory.Unknown {
			t.Error("a cloud of which nothing is known")
		}
		if k, err := settings.Configz("f", 1, []byte(s)); err == nil && k.Authorization == "" {
			t.Error("a kubelet of which nothing is known")
		}
		_, _ = settings.Structured("f", 1, []byte(s))
	})
}

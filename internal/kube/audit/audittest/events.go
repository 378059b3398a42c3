package audittest

import (
	"encoding/json"
	"fmt"
)

// routine returns an event of the kind that makes up nearly all of a log:
// leases, watches, status, events, controllers reading what they control.
func (g *generator) routine() Event {
	switch n := g.IntN(100); {
	case n < 30:
		return g.lease()
	case n < 45:
		return g.status()
	case n < 60:
		return g.watch()
	case n < 72:
		return g.controller()
	case n < 82:
		return g.newEvent()
	case n < 90:
		return g.probe()
	}
	return g.read()
}

func (g *generator) lease() Event {
	u, agent := g.kubelet()
	name := u.Username[len("system:node:"):]
	uri := "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/" + name + "?timeout=10s"
	return g.event("update", uri, u, agent, &ObjectRef{
		Resource: "leases", Namespace: "kube-node-lease", Name: name, UID: g.uuid(),
		APIGroup: "coordination.k8s.io", APIVersion: "v1", Version: fmt.Sprint(g.IntN(1 << 28)),
	})
}

func (g *generator) status() Event {
	u, agent := g.kubelet()
	ns, pod := g.namespace(), g.pod()
	e := g.event("patch", "/api/v1/namespaces/"+ns+"/pods/"+pod+"/status", u, agent,
		&ObjectRef{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1", Subresource: "status"})
	if g.IntN(4) == 0 {
		e.Level = "Request"
		e.Request = fmt.Appendf(nil, `{"metadata":{"uid":%q},"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-25T12:00:00Z"}],`+
			`"containerStatuses":[{"name":"app","containerID":"containerd://%s","image":"registry.example/app:1.%d","ready":true,"restartCount":0}]}}`,
			g.uuid(), g.hex(64), g.IntN(90))
	}
	return e
}

func (g *generator) watch() Event {
	resource := pick(g, "configmaps", "secrets", "services", "endpointslices", "nodes", "pods")
	u := g.serviceAccount("kube-system", pick(g, "kube-proxy", "coredns", "cni-agent"))
	uri := "/api/v1/" + resource + "?" + query("allowWatchBookmarks", "true", "resourceVersion", fmt.Sprint(g.IntN(1<<28)), "timeoutSeconds", "421", "watch", "true")
	e := g.event("watch", uri, u, "cni-agent/v1.19.1 (linux/amd64) client-go/v0.36.2", &ObjectRef{Resource: resource, APIVersion: "v1"})
	e.Stage = pick(g, "RequestReceived", "ResponseStarted", "ResponseComplete")
	return e
}

func (g *generator) controller() Event {
	ns, name := g.namespace(), pick(g, "web", "api", "worker")
	u := g.serviceAccount("kube-system", "replicaset-controller")
	e := g.event("update", "/apis/apps/v1/namespaces/"+ns+"/replicasets/"+name+"-7c9f8d/status", u,
		"kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/5b5a2f8/system:serviceaccount:kube-system:replicaset-controller",
		&ObjectRef{Resource: "replicasets", Namespace: ns, Name: name + "-7c9f8d", APIGroup: "apps", APIVersion: "v1", Subresource: "status"})
	e.Annotations["authorization.k8s.io/reason"] = `RBAC: allowed by ClusterRoleBinding "system:controller:replicaset-controller" of ClusterRole "system:controller:replicaset-controller" to ServiceAccount "replicaset-controller/kube-system"`
	return e
}

func (g *generator) newEvent() Event {
	u, agent := g.kubelet()
	ns := g.namespace()
	e := g.event("create", "/api/v1/namespaces/"+ns+"/events", u, agent,
		&ObjectRef{Resource: "events", Namespace: ns, Name: g.pod() + "." + g.hex(16), APIVersion: "v1"})
	e.Status.Code = 201
	return e
}

func (g *generator) probe() Event {
	e := g.event("get", pick(g, "/readyz", "/livez", "/healthz?verbose", "/openapi/v3"),
		User{Username: "system:anonymous", Groups: []string{"system:unauthenticated"}}, "kube-probe/1.37", nil)
	return e
}

func (g *generator) read() Event {
	ns := g.namespace()
	resource := pick(g, "pods", "deployments", "configmaps", "services")
	ref := &ObjectRef{Resource: resource, Namespace: ns, APIVersion: "v1"}
	base := "/api/v1"
	if resource == "deployments" {
		ref.APIGroup, base = "apps", "/apis/apps/v1"
	}
	u, agent := g.person()
	return g.event("list", base+"/namespaces/"+ns+"/"+resource+"?limit=500", u, agent, ref)
}

// command returns an event that concerns a command.
func (g *generator) command() Event {
	switch n := g.IntN(100); {
	case n < 55:
		return g.exec()
	case n < 65:
		return g.stream()
	case n < 75:
		return g.nodeProxy()
	case n < 82:
		return g.debug()
	case n < 90:
		return g.create()
	case n < 95:
		return g.deploy()
	}
	return g.review()
}

func (g *generator) exec() Event {
	u, agent := g.person()
	if g.IntN(3) == 0 {
		u, agent = g.serviceAccount("ci", "runner"), "gitlab-runner/v18.2 (linux/amd64) kubernetes/$Format"
	}
	ns, pod := g.namespace(), g.pod()
	pairs := []string{}
	for _, arg := range pick(g, []string{"sh"}, []string{"/bin/sh", "-c", "for i in /proc/[0-9]*; do cat $i/cmdline; done | tr '\\0' ' '"},
		[]string{"tar", "cf", "-", "/var/lib/app"}, []string{"psql", "-U", "app", "-c", "select 'a&b'"}) {
		pairs = append(pairs, "command", arg)
	}
	pairs = append(pairs, "container", "app", "stdin", "true", "stdout", "true", "tty", "true")
	e := g.event("get", "/api/v1/namespaces/"+ns+"/pods/"+pod+"/exec?"+query(pairs...), u, agent,
		&ObjectRef{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1", Subresource: "exec"})
	e.Stage, e.Status.Code = pick(g, "ResponseStarted", "ResponseComplete"), 101
	e.Annotations["authorization.k8s.io/reason"] = `RBAC: allowed by RoleBinding "developers/` + ns + `" of Role "developer" to Group "developers"`
	if g.IntN(2) == 0 {
		e.Annotations["sessions.sallyport.dev/nonce"] = g.hex(32)
	}
	return e
}

func (g *generator) stream() Event {
	u, agent := g.person()
	ns, pod := g.namespace(), g.pod()
	sub, q := "portforward", ""
	if g.IntN(2) == 0 {
		sub, q = "attach", "?"+query("container", "app", "stdin", "true", "stdout", "true", "tty", "true")
	}
	e := g.event("create", "/api/v1/namespaces/"+ns+"/pods/"+pod+"/"+sub+q, u, agent,
		&ObjectRef{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1", Subresource: sub})
	e.Stage, e.Status.Code = pick(g, "ResponseStarted", "ResponseComplete"), 101
	return e
}

func (g *generator) nodeProxy() Event {
	u, agent := g.person()
	node, ns, pod := g.node(), g.namespace(), g.pod()
	verb, path := "create", "/run/"+ns+"/"+pod+"/app?"+query("cmd", "cat /etc/shadow")
	if g.IntN(2) == 0 {
		verb, path = "get", "/exec/"+ns+"/"+pod+"/app?"+query("command", "id", "command", "-u", "output", "1")
	}
	return g.event(verb, "/api/v1/nodes/"+node+"/proxy"+path, u, agent,
		&ObjectRef{Resource: "nodes", Name: node, APIVersion: "v1", Subresource: "proxy"})
}

func (g *generator) debug() Event {
	u, agent := g.person()
	ns, pod := g.namespace(), g.pod()
	e := g.event("patch", "/api/v1/namespaces/"+ns+"/pods/"+pod+"/ephemeralcontainers", u, agent,
		&ObjectRef{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1", Subresource: "ephemeralcontainers"})
	e.Level = "Request"
	e.Request = json.RawMessage(`{"spec":{"$setElementOrder/ephemeralContainers":[{"name":"debugger-x8dwp"}],"ephemeralContainers":[{"command":["sh"],"image":"busybox:1.36","name":"debugger-x8dwp","resources":{},"stdin":true,"targetContainerName":"app","terminationMessagePolicy":"File","tty":true}]}}`)
	return e
}

const podSpec = `"spec":{"containers":[{"name":"app","image":"registry.example/app:1.2","command":["/app/server"],"args":["--listen",":8080"],` +
	`"env":[{"name":"MODE","value":"prod"},{"name":"DB","valueFrom":{"secretKeyRef":{"name":"db","key":"dsn"}}}],"ports":[{"containerPort":8080,"protocol":"TCP"}],` +
	`"resources":{"limits":{"cpu":"500m","memory":"256Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},` +
	`"livenessProbe":{"exec":{"command":["/app/health","--quick"]},"initialDelaySeconds":5,"periodSeconds":15,"timeoutSeconds":2,"successThreshold":1,"failureThreshold":3},` +
	`"lifecycle":{"preStop":{"exec":{"command":["/app/drain"]}}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],` +
	`"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"app","securityContext":{"runAsNonRoot":true},"schedulerName":"default-scheduler"}`

func (g *generator) create() Event {
	u := g.serviceAccount("kube-system", "replicaset-controller")
	ns, pod := g.namespace(), g.pod()
	e := g.event("create", "/api/v1/namespaces/"+ns+"/pods", u, "kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/5b5a2f8",
		&ObjectRef{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1"})
	e.Level, e.Status.Code = "Request", 201
	e.Request = fmt.Appendf(nil, `{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"web-","name":%q,"labels":{"app":"web"},`+
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7c9f8d","uid":%q,"controller":true}]},%s,"status":{}}`, pod, g.uuid(), podSpec)
	return e
}

func (g *generator) deploy() Event {
	u, agent := g.person()
	ns := g.namespace()
	e := g.event("update", "/apis/apps/v1/namespaces/"+ns+"/deployments/web", u, agent,
		&ObjectRef{Resource: "deployments", Namespace: ns, Name: "web", APIGroup: "apps", APIVersion: "v1"})
	e.Level = "Request"
	e.Request = fmt.Appendf(nil, `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":%q},`+
		`"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},%s}},"status":{}}`, ns, podSpec)
	return e
}

func (g *generator) review() Event {
	u, agent := g.kubelet()
	asker, _ := g.person()
	e := g.event("create", "/apis/authorization.k8s.io/v1/subjectaccessreviews", u, agent,
		&ObjectRef{Resource: "subjectaccessreviews", APIGroup: "authorization.k8s.io", APIVersion: "v1"})
	e.Level, e.Status.Code = "RequestResponse", 201
	spec := fmt.Sprintf(`"spec":{"resourceAttributes":{"verb":"create","version":"v1","resource":"nodes","subresource":"proxy","name":%q},"user":%q,"groups":["developers"]}`,
		u.Username[len("system:node:"):], asker.Username)
	const head = `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},`
	e.Request = []byte(head + spec + `,"status":{"allowed":false}}`)
	e.Response = []byte(head + spec + `,"status":{"allowed":true,"reason":"RBAC"}}`)
	return e
}

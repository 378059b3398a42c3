package store

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/jsonform"
)

func (l *line) kubeRequest(o *event.KubeRequest) {
	l.head("kube_request", o.Header)
	l.Text("id", string(o.ID))
	l.Text("stage", string(o.Stage))
	l.Time("received", o.Received)
	l.Text("op", string(o.Op))
	l.Text("verb", o.Verb)
	l.SomeText("uri", o.URI)
	l.Name("user")
	l.kubeUser(&o.User)
	if o.Impersonated != nil {
		l.Name("impersonated")
		l.kubeUser(o.Impersonated)
	}
	l.SomeText("user_agent", o.UserAgent)
	l.SomeText("address", o.Address)
	l.SomeTexts("sources", o.Sources)
	l.SomeInt("code", int64(o.Code))
	l.SomeBool("refused", o.Refused)
	l.SomeText("namespace", o.Namespace)
	l.SomeText("pod", o.Pod)
	l.SomeText("container", o.Container)
	l.SomeText("target_node", o.TargetNode)
	l.SomeTexts("argv", o.Argv)
	l.SomeBool("tty", o.TTY)
	l.SomeBool("stdin", o.Stdin)
	l.SomeBool("no_query", o.NoQuery)
	l.SomeBool("joined", o.Joined)
	l.SomeText("path", o.Path)
	l.SomeTexts("ports", o.Ports)
	l.SomeText("nonce", o.Nonce)
	if o.Object != nil {
		l.kubeObject(o.Object)
	}
	if o.Review != nil {
		l.review(o.Review)
	}
}

func (l *line) kubeUser(u *event.KubeUser) {
	l.Begin()
	l.Text("name", u.Name)
	l.SomeText("uid", u.UID)
	l.SomeTexts("groups", u.Groups)
	l.Lists("extra", u.Extra)
	l.End()
}

func (l *line) kubeObject(o *event.KubeObject) {
	l.Name("object")
	l.Begin()
	l.Text("kind", o.Kind)
	l.SomeText("namespace", o.Namespace)
	l.SomeText("name", o.Name)
	l.SomeText("uid", o.UID)
	jsonform.SomeList(&l.Writer, "containers", o.Containers, l.kubeContainer)
	l.SomeText("node_name", o.NodeName)
	o.HostAccess.Write(&l.Writer, "host_access")
	l.SomeBool("mirror", o.Mirror)
	l.SomeBool("debug", o.Debug)
	l.End()
}

func (l *line) kubeContainer(c *event.KubeContainer) {
	l.Begin()
	l.Text("name", c.Name)
	l.Text("kind", string(c.Kind))
	l.SomeText("id", string(c.ID))
	l.SomeText("image", c.Image)
	l.SomeTexts("command", c.Command)
	l.SomeTexts("args", c.Args)
	jsonform.SomeList(&l.Writer, "hooks", c.Hooks, l.hook)
	jsonform.SomeList(&l.Writer, "variables", c.Variables, l.variable)
	l.SomeText("target", c.Target)
	l.SomeBool("tty", c.TTY)
	l.SomeBool("stdin", c.Stdin)
	c.HostAccess.Write(&l.Writer, "host_access")
	l.End()
}

func (l *line) variable(v *event.Variable) {
	l.Begin()
	l.Text("name", v.Name)
	l.SomeText("value", v.Value)
	l.End()
}

func (l *line) hook(h *event.KubeHook) {
	l.Begin()
	l.Text("kind", string(h.Kind))
	l.Texts("argv", h.Argv)
	l.duration("period", h.Period)
	l.duration("timeout", h.Timeout)
	l.duration("initial_delay", h.InitialDelay)
	l.End()
}

func (l *line) duration(name string, d event.Duration) {
	if d != 0 {
		l.Text(name, time.Duration(d).String())
	}
}

func (l *line) review(v *event.AccessReview) {
	l.Name("review")
	l.Begin()
	l.Name("user")
	l.kubeUser(&v.User)
	l.Text("verb", v.Verb)
	l.SomeText("resource", v.Resource)
	l.SomeText("name", v.Name)
	l.SomeText("namespace", v.Namespace)
	l.SomeText("path", v.Path)
	l.SomeBool("allowed", v.Allowed)
	l.SomeBool("allowed_said", v.AllowedSaid)
	l.End()
}

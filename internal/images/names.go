package images

import (
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// group is a list of an inventory.Inside.
type group struct {
	of    func(*inventory.Inside) *[]string
	names string
}

// groups are the programs that are looked for, by the names that distributions give
// them. A name may be in several. Versions and the names of platforms around a name
// (python3.12, x86_64-linux-gnu-gcc-14) do not matter.
var groups = []group{
	{func(i *inventory.Inside) *[]string { return &i.Shells }, `
		sh ash bash bash-static busybox csh dash elvish fish ksh loksh mksh nu oksh osh pdksh posh pwsh rbash rksh rzsh sash
		tcsh toybox xonsh yash ysh zsh zsh-static`},
	{func(i *inventory.Inside) *[]string { return &i.Packages }, `
		apk apt apt-get aptitude brew bundle bundler cargo composer conda corepack cpan cpanm dnf dpkg easy_install emerge
		flatpak gem luarocks mamba microdnf micromamba nix nix-env nix-store npm npx opkg pacman pip pipx pnpm poetry rpm
		snap tdnf uv xbps-install yarn yum zypper`},
	{func(i *inventory.Inside) *[]string { return &i.Interpreters }, `
		R Rscript awk bun busybox deno dotnet elixir erl escript expect gawk gdb groovy guile iex irb java jshell julia
		lua luajit mawk mono nawk node nodejs ocaml perl php pypy python racket ruby scala tclsh`},
	{func(i *inventory.Inside) *[]string { return &i.Downloaders }, `
		aria2c aws axel az busybox curl elinks ftp gcloud git grpcurl gsutil hg http https lftp links lynx nc nc.openbsd
		nc.traditional ncat netcat nmap openssl rclone rsync s3cmd scp sftp socat ssh svn telnet tftp w3m websocat wget
		wscat xh`},
	{func(i *inventory.Inside) *[]string { return &i.Compilers }, `
		as c++ cargo cc clang clang++ cmake g++ gcc gccgo gfortran ghc go javac ld make nasm rustc tcc tinygo yasm zig`},
	{func(i *inventory.Inside) *[]string { return &i.Clients }, `
		buildah buildctl crictl crun ctr docker docker-compose etcdctl helm istioctl k0s k3s k9s kubeadm kubectl microk8s
		nerdctl oc podman runc skopeo`},
}

// lists are the groups' lists by program.
var lists = func() map[string][]func(*inventory.Inside) *[]string {
	out := map[string][]func(*inventory.Inside) *[]string{}
	for _, g := range groups {
		for name := range strings.FieldsSeq(g.names) {
			out[name] = append(out[name], g.of)
		}
	}
	return out
}()

var (
	// platform is what compilers for one platform have before their names.
	platform = regexp.MustCompile(`^[a-z0-9_]+-(?:[a-z0-9_]+-)?linux-[a-z0-9_]+-`)
	// release is what comes behind a name when several versions may be there.
	release = regexp.MustCompile(`-?[0-9]+(?:\.[0-9]+)*$`)
)

// listsOf returns the lists in which a file belongs by its name.
func listsOf(name string) []func(*inventory.Inside) *[]string {
	if in := lists[name]; in != nil {
		return in
	}
	last := name[len(name)-1]
	if last >= '0' && last <= '9' {
		name = release.ReplaceAllString(name, "")
	}
	if strings.Contains(name, "-linux-") {
		name = platform.ReplaceAllString(name, "")
	}
	return lists[name]
}

// listMax bounds each list.
const listMax = 64

package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// cloudDocument is a cluster as its provider describes it: the fields of all three
// that say from where its API server can be reached.
type cloudDocument struct {
	// EKS: aws eks describe-cluster
	Cluster *struct {
		VPC    *eksNetwork `json:"resourcesVpcConfig"`
		Access *eksAccess  `json:"accessConfig"`
	} `json:"cluster"`
	// GKE: gcloud container clusters describe --format json
	MasterVersion string        `json:"currentMasterVersion"`
	Endpoints     *gkeEndpoints `json:"controlPlaneEndpointsConfig"`
	Networks      *gkeNetworks  `json:"masterAuthorizedNetworksConfig"`
	Private       *gkePrivate   `json:"privateClusterConfig"`
	// AKS: az aks show
	Type   string      `json:"type"`
	Access *aksProfile `json:"apiServerAccessProfile"`
}

type eksNetwork struct {
	Public  *bool    `json:"endpointPublicAccess"`
	Private *bool    `json:"endpointPrivateAccess"`
	Ranges  []string `json:"publicAccessCidrs"`
}

type eksAccess struct {
	Mode string `json:"authenticationMode"` // CONFIG_MAP, API, API_AND_CONFIG_MAP
}

// configMap says whether the ConfigMap aws-auth is looked at.
func (a *eksAccess) configMap() inventory.Answer {
	if a == nil || a.Mode == "" {
		return inventory.Unknown
	}
	return inventory.AnswerOf(strings.Contains(a.Mode, "CONFIG_MAP"))
}

type gkeNetworks struct {
	Enabled bool `json:"enabled"`
	Google  bool `json:"gcpPublicCidrsAccessEnabled"`
	Blocks  []struct {
		Range string `json:"cidrBlock"`
	} `json:"cidrBlocks"`
}

type gkePrivate struct {
	Endpoint bool `json:"enablePrivateEndpoint"`
}

type gkeEndpoints struct {
	DNS *struct {
		External bool `json:"allowExternalTraffic"`
	} `json:"dnsEndpointConfig"`
	IP *struct {
		Enabled  *bool        `json:"enabled"`
		Public   *bool        `json:"enablePublicEndpoint"`
		Networks *gkeNetworks `json:"authorizedNetworksConfig"`
	} `json:"ipEndpointsConfig"`
}

type aksProfile struct {
	Private bool     `json:"enablePrivateCluster"`
	Ranges  []string `json:"authorizedIpRanges"` // the API writes authorizedIPRanges, the command line this
}

const aksType = "Microsoft.ContainerService/managedClusters"

// errNotCloud says that a document describes no cluster of a provider.
var errNotCloud = errors.New("no description of a cluster by aws eks describe-cluster, gcloud container clusters describe or az aks show")

// IsCloud reports whether a document in JSON or YAML looks like a provider's
// description of a cluster.
func IsCloud(fields map[string]json.RawMessage) bool {
	if t := string(fields["type"]); t == `"`+aksType+`"` || len(fields["currentMasterVersion"]) > 0 {
		return true
	}
	var inner map[string]json.RawMessage
	return json.Unmarshal(fields["cluster"], &inner) == nil && len(inner["resourcesVpcConfig"]) > 0
}

// Cloud tells from where an API server can be reached by what its provider says of
// it, in JSON: the output of aws eks describe-cluster, gcloud container clusters
// describe --format json or az aks show. It takes the document's word.
func Cloud(source string, first int, data []byte) (*inventory.APIServer, error) {
	if len(data) > fileMax {
		return nil, fmt.Errorf("a document of more than %d bytes", fileMax)
	}
	var d cloudDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	out := inventory.APIServer{Origin: inventory.Origin{Source: source, Line: max(first, 1)}}
	var err error
	switch {
	case d.Cluster != nil && d.Cluster.VPC != nil:
		out.Public, out.Ranges, err = d.Cluster.VPC.reach()
		out.ConfigMapAuth = d.Cluster.Access.configMap()
	case d.MasterVersion != "":
		out.Public, out.Ranges, err = d.gke()
	case d.Type == aksType:
		out.Public, out.Ranges, err = d.aks()
	default:
		return nil, errNotCloud
	}
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// within decides on a public address that only some ranges may reach; no ranges are
// no bound.
func within(ranges []string) (inventory.Answer, []string, error) {
	public := inventory.AnswerOf(len(ranges) == 0)
	for _, r := range ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			if a, bad := netip.ParseAddr(r); bad == nil {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
		}
		if err != nil {
			return inventory.Unknown, nil, fmt.Errorf("range %q is no CIDR block", r)
		}
		if p.Bits() == 0 {
			public = inventory.Yes
		}
	}
	return public, ranges, nil
}

func (n *eksNetwork) reach() (inventory.Answer, []string, error) {
	switch {
	case n.Public == nil:
		return inventory.Unknown, nil, errors.New("resourcesVpcConfig does not say endpointPublicAccess")
	case !*n.Public:
		return inventory.No, nil, nil
	}
	return within(n.Ranges)
}

// googleRange stands for the addresses of all who rent machines of Google.
const googleRange = "any address of Google Cloud"

func (d *cloudDocument) gke() (inventory.Answer, []string, error) {
	e, networks := d.Endpoints, d.Networks
	public := d.Private == nil || !d.Private.Endpoint
	if e != nil && e.DNS != nil && e.DNS.External {
		return inventory.Yes, nil, nil
	}
	if e != nil && e.IP != nil {
		public = e.IP.Enabled != nil && *e.IP.Enabled && e.IP.Public != nil && *e.IP.Public
		if e.IP.Networks != nil {
			networks = e.IP.Networks
		}
	}
	if !public {
		return inventory.No, nil, nil
	}
	if networks == nil || !networks.Enabled {
		return inventory.Yes, nil, nil
	}
	var ranges []string
	for _, b := range networks.Blocks {
		ranges = append(ranges, b.Range)
	}
	if len(ranges) == 0 { // enabled and empty lets nobody in
		if networks.Google {
			return inventory.No, []string{googleRange}, nil
		}
		return inventory.No, nil, nil
	}
	answer, ranges, err := within(ranges)
	if networks.Google {
		ranges = append(ranges, googleRange)
	}
	return answer, ranges, err
}

func (d *cloudDocument) aks() (inventory.Answer, []string, error) {
	switch {
	case d.Access == nil:
		return inventory.Yes, nil, nil
	case d.Access.Private:
		return inventory.No, nil, nil
	}
	return within(d.Access.Ranges)
}

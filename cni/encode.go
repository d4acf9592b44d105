package cni

import (
	"encoding/json"
	"net"
	"strconv"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/weft-net/weft/internal/rawjson"
)

// appendResult appends what encoding/json makes of a result.
func appendResult(b []byte, r *current.Result) ([]byte, error) {
	b = rawjson.Text(append(b, '{'), "cniVersion", r.CNIVersion)
	if len(r.Interfaces) > 0 {
		b = append(rawjson.Key(b, "interfaces"), '[')
		for _, i := range r.Interfaces {
			b = appendInterface(rawjson.Next(b), i)
		}
		b = append(b, ']')
	}
	if len(r.IPs) > 0 {
		b = append(rawjson.Key(b, "ips"), '[')
		for _, ip := range r.IPs {
			b = append(rawjson.Next(b), '{')
			b = appendPointer(b, "interface", ip.Interface)
			b = rawjson.String(rawjson.Key(b, "address"), ip.Address.String())
			b = append(appendIP(b, "gateway", ip.Gateway), '}')
		}
		b = append(b, ']')
	}
	if len(r.Routes) > 0 {
		b = append(rawjson.Key(b, "routes"), '[')
		for _, route := range r.Routes {
			b = appendRoute(rawjson.Next(b), route)
		}
		b = append(b, ']')
	}
	if !r.DNS.IsEmpty() {
		dns, err := json.Marshal(&r.DNS)
		if err != nil {
			return nil, err
		}
		b = append(rawjson.Key(b, "dns"), dns...)
	}
	return append(b, '}'), nil
}

func appendInterface(b []byte, i *current.Interface) []byte {
	b = rawjson.String(rawjson.Key(append(b, '{'), "name"), i.Name)
	b = rawjson.Int(rawjson.Text(b, "mac", i.Mac), "mtu", i.Mtu)
	b = rawjson.Text(rawjson.Text(b, "sandbox", i.Sandbox), "socketPath", i.SocketPath)
	return append(rawjson.Text(b, "pciID", i.PciID), '}')
}

func appendRoute(b []byte, r *types.Route) []byte {
	b = rawjson.String(rawjson.Key(append(b, '{'), "dst"), r.Dst.String())
	b = rawjson.Int(appendIP(b, "gw", r.GW), "mtu", r.MTU)
	b = rawjson.Int(rawjson.Int(b, "advmss", r.AdvMSS), "priority", r.Priority)
	return append(appendPointer(appendPointer(b, "table", r.Table), "scope", r.Scope), '}')
}

func appendIP(b []byte, name string, ip net.IP) []byte {
	if len(ip) == 0 {
		return b
	}
	return rawjson.Text(b, name, ip.String())
}

func appendPointer(b []byte, name string, n *int) []byte {
	if n == nil {
		return b
	}
	return strconv.AppendInt(rawjson.Key(b, name), int64(*n), 10)
}

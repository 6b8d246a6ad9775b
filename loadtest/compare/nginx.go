package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentid-dev/agentid/loadtest/local"
	"github.com/agentid-dev/agentid/loadtest/proc"
)

// nginxConf is nginx as a reverse proxy that keeps its connections, with the connector's
// credential in place of the agent's. %[2]s is the upstream, %[3]s the port, %[4]s more
// of the server and %[5]s more of the location.
const nginxConf = `daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream api { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
	%[6]s
	server {
		listen %[3]s backlog=4096;
		location / {
			%[5]s
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $proxy_host;
			proxy_set_header Authorization "Bearer %[7]s";
			proxy_pass http://api;
		}
		%[4]s
	}
}
`

// nginx is one configuration.
type nginx struct {
	name     string
	http     string // more at the level of http
	server   string // more of the server
	location string // more of the proxied location
}

func startNginx(ctx context.Context, dir, origin string, n nginx) (addr string, p *proc.Process, err error) {
	dir = filepath.Join(dir, n.name)
	const ownerOnly = 0o700
	if err := os.MkdirAll(dir, ownerOnly); err != nil {
		return "", nil, fmt.Errorf("nginx: %w", err)
	}
	if addr, err = local.FreePort(); err != nil {
		return "", nil, err //nolint:wrapcheck // says what failed
	}
	text := fmt.Sprintf(nginxConf, dir, strings.TrimPrefix(origin, "http://"), addr, n.server, n.location, n.http, local.UpstreamKey)
	if os.Geteuid() == 0 {
		text = "user root;\n" + text // so that the workers may use the folder
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", nil, fmt.Errorf("nginx: %w", err)
	}
	p, err = proc.Start(ctx, proc.Spec{Name: n.name, Command: []string{"nginx", "-e", "stderr", "-p", dir, "-c", path}})
	if err != nil {
		return "", nil, fmt.Errorf("install the Debian package nginx: %w", err)
	}
	// Until an answer comes, of whatever status: the stack is qualified later.
	return addr, p, untilOpen(ctx, p, addr)
}

// askAdapter is auth_request to an adapter that takes the original request's line.
const askAdapter = `location = /_auth {
			internal;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header X-Original-URI $request_uri;
			proxy_set_header X-Original-Method $request_method;
			proxy_pass http://adapter/check;
		}`

func adapterUpstream(addr string) string {
	return "upstream adapter { server " + addr + "; keepalive 256; keepalive_requests 1000000000; }"
}

// askOPA is auth_request to OPA's webhook API, which answers 404 when the policy does not
// say yes. Only a path and a token of plain characters are put into the question.
const askOPA = `location = /_auth {
			internal;
			proxy_http_version 1.1;
			proxy_method POST;
			proxy_pass_request_headers off;
			proxy_set_header Connection "";
			proxy_set_header Content-Type application/json;
			proxy_set_body '{"method":"$request_method","path":"$plain_path","token":"$bearer"}';
			proxy_intercept_errors on;
			error_page 404 = @no;
			proxy_pass http://opa/v0/data/gate/allow;
		}
		location @no { internal; return 403; }`

func opaUpstream(addr string) string {
	return `upstream opa { server ` + addr + `; keepalive 256; keepalive_requests 1000000000; }
	map $request_uri $plain_path { "~^[A-Za-z0-9/_.-]+$" $request_uri; }
	map $http_authorization $bearer { "~^Bearer (?<plain>[A-Za-z0-9._-]+)$" $plain; }`
}

// Package deploy_test holds what is shipped against what it says: the example
// configurations load, the unit is sandboxed, the container build is pinned and not
// root, and the binary builds the same twice.
package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/config"
)

func TestExampleConfigurationsAreGood(t *testing.T) {
	files, err := filepath.Glob("examples/agentid*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, f := range files {
		_, err := config.Load(f)
		require.NoError(t, err)
	}
	for _, f := range []string{"broker", "own-authority"} {
		c, err := config.Load("examples/split/" + f + ".yaml")
		require.NoError(t, err)
		require.True(t, c.Fleet.Enabled())
	}
	_, err = config.LoadGateway("examples/split/gateway.yaml")
	require.NoError(t, err)
}

// unit is the service's settings, in order.
func unit(t *testing.T, file string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("systemd/" + file)
	require.NoError(t, err)
	out := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		require.True(t, ok, line)
		out[section+name] = append(out[section+name], value)
	}
	return out
}

func TestTheUnitsAreSandboxed(t *testing.T) {
	for file, command := range map[string][2]string{
		"agentid.service":         {"serve --config /etc/agentid/agentid.yaml", "config check --config /etc/agentid/agentid.yaml"},
		"agentid-broker.service":  {"broker --config /etc/agentid/broker.yaml", "config check --config /etc/agentid/broker.yaml"},
		"agentid-gateway.service": {"gateway --config /etc/agentid/gateway.yaml", "config check --gateway --config /etc/agentid/gateway.yaml"},
	} {
		t.Run(file, func(t *testing.T) {
			u := unit(t, file)
			sandboxed(t, u)
			require.Contains(t, u["[Service]ExecStart"][0], command[0])
			require.Contains(t, u["[Service]ExecStartPre"][0], command[1])
			if file == "agentid-gateway.service" {
				require.Empty(t, u["[Service]StateDirectory"], "a gateway keeps no data")
			} else {
				require.Equal(t, []string{"agentid"}, u["[Service]StateDirectory"])
			}
		})
	}
}

func sandboxed(t *testing.T, u map[string][]string) {
	t.Helper()
	for name, want := range map[string]string{
		"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
		"PrivateDevices": "yes", "PrivateUsers": "yes", "DynamicUser": "yes", "MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "UMask": "0077", "LimitCORE": "0",
	} {
		require.Equal(t, []string{want}, u["[Service]"+name], name)
	}
	require.Equal(t, []string{"@system-service", "~@privileged @resources"}, u["[Service]SystemCallFilter"])
}

// TestSystemdAgrees runs systemd's own checks where systemd is installed; elsewhere the
// test above has read the unit.
func TestSystemdAgrees(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd is not installed: the unit was parsed only")
		return
	}
	for _, file := range []string{"agentid.service", "agentid-broker.service", "agentid-gateway.service"} {
		// verify wants the program to be there.
		data, err := os.ReadFile("systemd/" + file)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), file)
		require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(data), "/usr/local/bin/agentid", "/bin/true")), 0o600))
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
		require.NoError(t, err, string(out))
		require.NotContains(t, string(out), file+":")
		out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", path).CombinedOutput()
		require.NoError(t, err, "exposure above 2.0:\n%s", out)
	}
}

// instructions are the Dockerfile's, with their arguments.
func instructions(t *testing.T) [][2]string {
	t.Helper()
	data, err := os.ReadFile("container/Dockerfile")
	require.NoError(t, err)
	known := "FROM ENV WORKDIR COPY RUN USER VOLUME EXPOSE STOPSIGNAL ENTRYPOINT CMD"
	var out [][2]string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		require.Contains(t, strings.Fields(known), name, line)
		out = append(out, [2]string{name, rest})
	}
	return out
}

func TestTheContainerIsPinnedMinimalAndNotRoot(t *testing.T) {
	all := instructions(t)
	var bases []string
	last := map[string]string{}
	for _, i := range all {
		if i[0] == "FROM" {
			bases = append(bases, i[1])
			last = map[string]string{}
		}
		last[i[0]] = i[1]
	}
	require.Len(t, bases, 2)
	require.Regexp(t, regexp.MustCompile(`^golang:\d+\.\d+\.\d+-[a-z]+ AS build$`), bases[0], "an exact version")
	require.Equal(t, "scratch", bases[1])
	require.Regexp(t, regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`), last["USER"], "a number that is not root, which Kubernetes can check")
	require.Equal(t, `["/agentid"]`, last["ENTRYPOINT"])
	require.Contains(t, last["CMD"], `"serve"`)
	require.Empty(t, last["RUN"], "nothing runs in the final stage")

	gomod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	minimum := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(gomod))
	require.Contains(t, bases[0], "golang:"+minimum[1]+".", "the toolchain that go.mod asks for")
	built := false
	for _, i := range all {
		if i[0] == "RUN" && strings.HasPrefix(i[1], "go build ") {
			built = true
			require.Equal(t, "go "+strings.Join(buildArgs("/out/agentid"), " "), i[1])
		}
	}
	require.True(t, built, "the image is built as the test below builds")
}

func buildArgs(out string) []string {
	return []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-buildid=", "-o", out, "./cmd/agentid"}
}

// TestTheBinaryIsReproducible builds the same source in two folders and compares.
func TestTheBinaryIsReproducible(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), "another", "folder")
	require.NoError(t, os.MkdirAll(copied, 0o700))
	require.NoError(t, os.CopyFS(copied, sources{os.DirFS(root)}))
	a, b := build(t, root), build(t, copied)
	require.Equal(t, digest(t, a), digest(t, b))
	data, err := os.ReadFile(a)
	require.NoError(t, err)
	require.NotContains(t, string(data), root+"/", "no path of the machine is in it")
}

func build(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "agentid")
	cmd := exec.CommandContext(t.Context(), "go", buildArgs(out)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	return out
}

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%d bytes, sha256 %s", len(data), hex.EncodeToString(sum[:]))
}

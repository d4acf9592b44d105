package house

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeTarget runs make at the root of the module and returns what it printed.
func makeTarget(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("make", append([]string{"-C", root}, args...)...)
	// The make that may have started this test must not pass on its flags.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "MAKE") || strings.HasPrefix(e, "MFLAGS")
	})
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestHelpListsTheTargets(t *testing.T) {
	help := makeTarget(t)
	for _, target := range []string{"build", "demo", "test", "lint", "fmt", "fuzz", "bench", "lab", "clean", "install"} {
		if !strings.Contains(help, "\n  "+target+" ") {
			t.Errorf("make alone does not list %q:\n%s", target, help)
		}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	bin, dest := t.TempDir(), t.TempDir()
	// TRIMPATH: with it everything would be compiled a second time.
	args := []string{"install", "TRIMPATH=", "BIN=" + bin, "DESTDIR=" + dest, "PREFIX=/usr/local", "VERSION=v0.0.0-test"}
	makeTarget(t, args...)
	want := []string{
		"-rw------- /etc/weft/weftd.yaml",
		"-rwxr-xr-x /opt/cni/bin/weft",
		"-rwxr-xr-x /usr/local/bin/weft",
		"-rwxr-xr-x /usr/local/bin/weft-lab",
		"-rw-r--r-- /usr/local/lib/systemd/system/weft-shutdown.service",
		"-rw-r--r-- /usr/local/lib/systemd/system/weftd.service",
		"-rwxr-xr-x /usr/local/sbin/weftd",
		"-rw-r--r-- /usr/local/share/doc/weft/LICENSE",
		"-rw-r--r-- /usr/local/share/doc/weft/fabric-bgp.yaml",
		"-rw-r--r-- /usr/local/share/doc/weft/fabric.yaml",
		"-rw-r--r-- /usr/local/share/doc/weft/weftd.yaml",
	}
	if diff := cmp.Diff(want, installed(t, dest)); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	for _, program := range [][]string{{"usr/local/sbin/weftd", "--version"}, {"usr/local/bin/weft", "version"}, {"usr/local/bin/weft-lab", "--version"}} {
		if got := output(t, dest, program...); !strings.Contains(got, "v0.0.0-test") {
			t.Errorf("%v: %q; want the version it was built with", program, got)
		}
	}
	checkCommands(t, output(t, dest, "usr/local/bin/weft", "--help"))
	checkUnits(t, dest)

	own := []byte("nodeName: mine\n")
	file := filepath.Join(dest, "etc/weft/weftd.yaml")
	if err := os.WriteFile(file, own, 0o600); err != nil {
		t.Fatal(err)
	}
	makeTarget(t, args...)
	if got, err := os.ReadFile(file); err != nil || string(got) != string(own) {
		t.Errorf("a second install changed the operator's file to %q, %v", got, err)
	}
}

// output runs an installed program.
func output(t *testing.T, dest string, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(dest, args[0]), args[1:]...).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// checkCommands: docs/cli.md has every command that the help lists.
func checkCommands(t *testing.T, help string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	if list == "" {
		t.Errorf("no commands in the help:\n%s", help)
	}
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; name != "help" && !strings.Contains(string(page), "`weft "+name+" ") && !strings.Contains(string(page), "`weft "+name+"`") {
			t.Errorf("docs/cli.md does not have `weft %s`", name)
		}
	}
}

// installed lists the files below a folder with their modes.
func installed(t *testing.T, dest string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, info.Mode().String()+" "+strings.TrimPrefix(path, dest))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkUnits checks the units as installed, with the prefix in them: for what
// an agent's stop must leave alone and a host's must not, and by systemd itself
// where that is.
func checkUnits(t *testing.T, dest string) {
	t.Helper()
	for name, want := range map[string][]string{
		"weftd.service": {
			"Type=notify", "Restart=always", "RuntimeDirectory=weft", "RuntimeDirectoryPreserve=yes",
			"RestartPreventExitStatus=2", "Environment=GOTRACEBACK=crash", "ExecStart=/usr/local/sbin/weftd",
		},
		// Stopped before the agent and the network are, and only then.
		"weft-shutdown.service": {
			"After=weftd.service network.target network-online.target", "RefuseManualStop=yes",
			"Type=oneshot", "RemainAfterExit=yes", "ExecStop=-/usr/local/bin/weft bgp shutdown",
		},
	} {
		data, err := os.ReadFile(filepath.Join(dest, "usr/local/lib/systemd/system", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := string(data)
		for _, line := range want {
			if !strings.Contains(unit, "\n"+line+"\n") {
				t.Errorf("%s does not say %q", name, line)
			}
		}
		for _, tie := range []string{"Requires=", "BindsTo=", "PartOf="} {
			if strings.Contains(unit, "\n"+tie) {
				t.Errorf("%s has %s: a restart of one unit would stop the other", name, tie)
			}
		}
		verifyUnit(t, dest, name, unit)
	}
}

// verifyUnit has systemd check a unit, where it is installed.
func verifyUnit(t *testing.T, dest, name, unit string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd is not here to check the units")
		return
	}
	// The programs are where DESTDIR has them, or systemd calls them missing.
	file := filepath.Join(t.TempDir(), name)
	unit = strings.NewReplacer("=/usr/local/", "="+dest+"/usr/local/", "=-/usr/local/", "=-"+dest+"/usr/local/").Replace(unit)
	if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "weft") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

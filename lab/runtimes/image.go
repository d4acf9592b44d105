package runtimes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Image is the name of the one image there is: busybox, whose command serves
// the value of the variable NAME on port 80 as /name. Without a name it sleeps,
// as what holds a pod's namespaces does.
const Image = "localhost/weft/test:1"

// imageFile is where a machine has the image as an archive.
const imageFile = "/var/lib/machine/image.tar"

// applets are the programs in the image, all of them busybox.
const applets = "sh httpd wget ip cat echo env nc sleep timeout"

// serve is the image's command.
const serve = `[ "$NAME" ] || exec sleep 1000000; echo "$NAME" >/www/name && exec httpd -f -p '[::]:80' -h /www`

// writeImage puts the image on the machine, as an archive in the form of
// `docker save`, which all runtimes read. Its content is busybox-static's
// program: no registry is asked.
func (m *Machine) writeImage() error {
	layer, err := imageLayer()
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Cmd": []string{"sh", "-c", serve}, "Env": []string{"PATH=/bin"},
			"StopSignal": "SIGKILL", // the first process of a container ignores others
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": digest(config) + ".json", "RepoTags": []string{Image}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range []struct {
		name string
		data []byte
	}{{digest(config) + ".json", config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		if err := addFile(w, file.name, 0o644, file.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return m.write(imageFile, out.String(), 0o644)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// imageLayer is the image's file system.
func imageLayer() ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w (Debian's busybox-static has it)", err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "tmp/", "www/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if err := addFile(w, "bin/busybox", 0o755, busybox); err != nil {
		return nil, err
	}
	for _, name := range strings.Fields(applets) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}

func addFile(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(data))
	return err
}

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the programs that a lab runs, as absolute paths.
type Binaries struct {
	Weftd string `json:"weftd"`
	Weft  string `json:"weft"`
	CNI   string `json:"cni"` // weft-cni
	Lab   string `json:"lab"` // weft-lab, for the embedded etcd server
}

// BinariesIn names the programs in a directory, where `make build` puts them.
func BinariesIn(dir string) Binaries {
	return Binaries{
		Weftd: filepath.Join(dir, "weftd"), Weft: filepath.Join(dir, "weft"),
		CNI: filepath.Join(dir, "weft-cni"), Lab: filepath.Join(dir, "weft-lab"),
	}
}

// BuildBinaries compiles the programs into dir, for tests. It must run inside
// the module.
func BuildBinaries(ctx context.Context, dir string) (Binaries, error) {
	const module = "github.com/weft-net/weft/cmd/"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		module+"weftd", module+"weft", module+"weft-cni", module+"weft-lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Binaries{}, fmt.Errorf("go build: %w: %s", err, out)
	}
	return BinariesIn(dir), nil
}

// BuildOlder compiles into dir a weftd that knows no migrations, as versions
// before them did not, and returns its path.
func BuildOlder(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "weftd-older")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "weft_without_migrations", "-o", path, "github.com/weft-net/weft/cmd/weftd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
}

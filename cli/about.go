package cli

import (
	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/version"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group("config", "Commands about the node's own file", "")
	cmd.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print a node's file with every key and its default", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			a.printf("%s", config.Reference)
			return nil
		},
	})
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			a.printf("weft %s\n", version.String())
			return nil
		},
	}
}

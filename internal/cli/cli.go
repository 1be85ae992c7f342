// Package cli is what both commands share on top of cobra: flags that may also
// be set in the environment, the flags for etcd, mistakes reported all at once
// and with a hint, exit codes, tables. It knows nothing of what the commands
// do, and does not import the etcd client: cmd/ translates.
//
// A command is put together in three steps. Its flags are defined as cobra
// wants them; its PreRunE checks what they say and returns Mistakes; its RunE
// does the work. BindEnv and Execute see to the rest.
package cli

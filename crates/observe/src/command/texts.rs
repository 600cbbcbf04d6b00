//! Long help texts, as users of the command know them.

pub(super) const HUBBLE: &str = "Hubble is a utility to observe and inspect recent Cilium routed traffic in a cluster.";

pub(super) const FLOWS: &str = "Observe provides visibility into flow information on the network and\n\
application level. Rich filtering enable observing specific flows related to\n\
individual pods, services, TCP connections, DNS queries, HTTP requests and\n\
more.\n\
\n\
Observe can filter flows using multiple different flags, such as filtering for\n\
the source namespace or the protocol used. To match a filter flag, a flow must\n\
match at least one of the provided values for that flag. A flow must match all\n\
the provided filter flags to be returned.\n\
\n\
Observe can also show all flows that do not match a provided filter, by adding\n\
the '--not' flag in front of a filter flag. To match a negated filter\n\
flag, a flow must not match any of the provided values for that flag. A returned\n\
flow does not match any of the negated filter flags.";

pub(super) const CONFIG: &str = "Config allows to modify or view the hubble configuration. Global hubble options\n\
can be set via flags, environment variables or a configuration file. The\n\
following precedence order is used:\n\
\n\
1. Flag\n\
2. Environment variable\n\
3. Configuration file\n\
4. Default value\n\
\n\
The \"config view\" subcommand provides a merged view of the configuration. The\n\
\"config set\" and \"config reset\" subcommand modify values in the configuration\n\
file.\n\
\n\
Environment variable names start with HUBBLE_ followed by the flag name\n\
capitalized where eventual dashes ('-') are replaced by underscores ('_').\n\
For example, the environment variable that corresponds to the \"--server\" flag\n\
is HUBBLE_SERVER. The environment variable for \"--tls-allow-insecure\" is\n\
HUBBLE_TLS_ALLOW_INSECURE and so on.";

pub(super) const CONFIG_GET: &str = "Get an individual value in the hubble config file.\n\
If KEY is not provided, this command is equivalent to 'view'.";

pub(super) const CONFIG_RESET: &str = "Reset all or an individual value in the hubble config file.\n\
When KEY is provided, this command is equivalent to 'set KEY'.\n\
If KEY is not provided, all values are reset to their default value.";

pub(super) const CONFIG_SET: &str = "Set an individual value in the hubble config file.\n\
If VALUE is not provided, the value is reset to its default value.";

pub(super) const COMPLETION: &str = "Generate the autocompletion script for hubble for the specified shell.\n\
See each sub-command's help for details on how to use the generated script.";

pub(super) const BASH: &str = "Generate the autocompletion script for the bash shell.\n\
\n\
This script depends on the 'bash-completion' package.\n\
If it is not installed already, you can install it via your OS's package manager.\n\
\n\
To load completions in your current shell session:\n\
\n\
\tsource <(hubble completion bash)\n\
\n\
To load completions for every new session, execute once:\n\
\n\
#### Linux:\n\
\n\
\thubble completion bash > /etc/bash_completion.d/hubble\n\
\n\
#### macOS:\n\
\n\
\thubble completion bash > $(brew --prefix)/etc/bash_completion.d/hubble\n\
\n\
You will need to start a new shell for this setup to take effect.";

pub(super) const FISH: &str = "Generate the autocompletion script for the fish shell.\n\
\n\
To load completions in your current shell session:\n\
\n\
\thubble completion fish | source\n\
\n\
To load completions for every new session, execute once:\n\
\n\
\thubble completion fish > ~/.config/fish/completions/hubble.fish\n\
\n\
You will need to start a new shell for this setup to take effect.";

pub(super) const POWERSHELL: &str = "Generate the autocompletion script for powershell.\n\
\n\
To load completions in your current shell session:\n\
\n\
\thubble completion powershell | Out-String | Invoke-Expression\n\
\n\
To load completions for every new session, add the output of the above command\n\
to your powershell profile.";

pub(super) const ZSH: &str = "Generate the autocompletion script for the zsh shell.\n\
\n\
If shell completion is not already enabled in your environment you will need\n\
to enable it.  You can execute the following once:\n\
\n\
\techo \"autoload -U compinit; compinit\" >> ~/.zshrc\n\
\n\
To load completions in your current shell session:\n\
\n\
\tsource <(hubble completion zsh)\n\
\n\
To load completions for every new session, execute once:\n\
\n\
#### Linux:\n\
\n\
\thubble completion zsh > \"${fpath[1]}/_hubble\"\n\
\n\
#### macOS:\n\
\n\
\thubble completion zsh > $(brew --prefix)/share/zsh/site-functions/_hubble\n\
\n\
You will need to start a new shell for this setup to take effect.";

pub(super) const HELP: &str = "Help provides help for any command in the application.\n\
Simply type hubble help [path to command] for full details.";

pub(super) const STATUS: &str = "Display shows the status of the Hubble server. This is intended as a basic\n\
connectivity health check.";

pub(super) const VERSION: &str = "Displays information about the version of this software.";

pub(super) const FLOWS_EXAMPLE: &str = "* Piping flows to hubble observe\n\
\n\
\x20 Save output from 'hubble observe -o jsonpb' command to a file, and pipe it to\n\
\x20 the observe command later for offline processing. For example:\n\
\n\
\x20   hubble observe -o jsonpb --last 1000 > flows.json\n\
\n\
\x20 Then,\n\
\n\
\x20   cat flows.json | hubble observe --input-file -\n\
\n\
\x20 Note that the observe command ignores --follow, --last, and server flags when it\n\
\x20 reads flows from stdin. The observe command processes and output flows in the same\n\
\x20 order they are read from stdin without sorting them by timestamp.\n\
\n\
* Filtering flows\n\
\n\
\x20 Observe provides a long list of filter options. These options let you, for example,\n\
\x20 filter for the used HTTP method using the '--http-method' flag. The following\n\
\x20 command shows all flows that use the HTTP PUT method.\n\
\n\
\x20   hubble observe --http-method put\n\
\n\
\x20 You can also provide multiple values for a flag, in which case a flow matches the\n\
\x20 filter if it matches any of the provided values. If you add a second '--http-method'\n\
\x20 flag matching GET requests to the previous example, the command will show any flow\n\
\x20 using either a PUT or GET method.\n\
\n\
\x20   hubble observe --http-method put --http-method get\n\
\n\
\x20 If you add a different flag, a flow is only returned if it matches for both of the\n\
\x20 different flags. For example, you can add a '--to-namespace' flag to the previous\n\
\x20 command so only flows using GET or PUT requests to endpoints in namespace 'foo' are\n\
\x20 returned.\n\
\n\
\x20   hubble observe --http-method put --http-method get --to-namespace foo\n\
\n\
\x20 And by adding another '--to-namespace' flag, it will return flows using GET or PUT\n\
\x20 requests to endpoints in namespace 'foo' or 'bar'\n\
\n\
\x20   hubble observe --http-method put --http-method get --to-namespace foo --to-namespace bar\n\
\n\
* Using negations on filters\n\
\n\
\x20 Observe can also return all flows that don't match a certain filter by using the\n\
\x20 '--not' flag. The following command returns all flows that don't use the HTTP PUT\n\
\x20 method.\n\
\n\
\x20   hubble observe --not --http-method put\n\
\n\
\x20 To filter out multiple values, you can combine negative flags by prefixing each of\n\
\x20 them with '--not'. The following command will return all flows that neither use a\n\
\x20 GET nor PUT method.\n\
\n\
\x20   hubble observe --not --http-method put --not --http-method get\n\
\n\
\x20 You can also filter using multiple different negative flags. The following example\n\
\x20 filters out all flows that match both of the flags. For example, by adding a\n\
\x20 '--not --to-namespace foo' flag, the example command will show all flows that\n\
\x20 don't use a GET or PUT method to endpoints in the 'foo' namespace.\n\
\n\
\x20   hubble observe --not --http-method put --not --http-method get --not --to-namespace foo\n\
\n\
\x20 This means the command will still return flows to the 'foo' namespace that don't\n\
\x20 use HTTP PUT or GET methods, and it will return flows using HTTP PUT and GET\n\
\x20 methods that end in other namespaces.\n\
\x20 ";

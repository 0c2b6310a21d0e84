//! Arguments, one file per command, and exit codes: wires the engine to the report.

mod apply;
mod audit;
mod completions;
mod exec;
mod exit;
mod explain;
mod facts;
mod fleet;
mod graph;
mod init;
mod inventory;
mod man;
mod matrix;
mod plan;
mod policy;
mod printer;
mod project;
mod rules;
mod schema;
mod trust;
mod validate;
mod verify;

use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand};

use exit::Exit;
use printer::{ColorChoice, Printer, Verbosity};

/// Turns a described datacenter into a configured one, over SSH, with nothing installed on the hosts
#[derive(Debug, Parser)]
#[command(name = "provision", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The inventory: a folder of YAML files, or one file
    #[arg(short, long, global = true, env = "PROVISION_INVENTORY", value_name = "PATH")]
    pub inventory: Option<Utf8PathBuf>,
    /// Take only these hosts, by a selector such as `role=etcd & site=par1`
    #[arg(short, long, global = true, value_name = "SELECTOR")]
    pub limit: Option<String>,
    /// Take only tasks with one of these tags
    #[arg(short, long, global = true, value_delimiter = ',', value_name = "TAG")]
    pub tags: Vec<String>,
    /// Leave out tasks with one of these tags
    #[arg(long, global = true, value_delimiter = ',', value_name = "TAG")]
    pub skip_tags: Vec<String>,
    /// Set a variable, stronger than any of the inventory
    #[arg(short, long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How many hosts are worked on at the same time
    #[arg(long, global = true, default_value_t = 256, value_name = "HOSTS")]
    pub parallel: usize,
    /// A private key to log in with; may be given several times
    #[arg(long, global = true, env = "PROVISION_IDENTITY", value_delimiter = ':', value_name = "FILE")]
    pub identity: Vec<Utf8PathBuf>,
    /// A known_hosts file with the hosts' keys; may be given several times
    #[arg(long, global = true, env = "PROVISION_KNOWN_HOSTS", value_delimiter = ':', value_name = "FILE")]
    pub known_hosts: Vec<Utf8PathBuf>,
    /// Ask once for the password that sudo wants on the hosts
    #[arg(short = 'K', long, global = true)]
    pub ask_sudo_password: bool,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only errors and data
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print also what each host cost, and what was skipped and why
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// The day on which dates are judged; today where a command does not say otherwise.
    #[arg(skip)]
    pub as_of: Option<jiff::civil::Date>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a new project that is valid as it stands
    #[command(after_help = "Example: provision init datacenter")]
    Init(init::InitArgs),
    /// Check the inventory, and a playbook on it, and whether they keep to the rules, without touching any host
    #[command(after_help = "Example: provision validate -i inventories/demo playbooks/site.yaml")]
    Validate(validate::ValidateArgs),
    /// Show what would change, without changing anything
    #[command(after_help = "Example: provision plan -i inventories/demo playbooks/site.yaml --out site.plan")]
    Plan(plan::PlanArgs),
    /// Change the hosts: a playbook after its plan was approved, or exactly a saved plan
    #[command(after_help = "Example: provision apply -i inventories/demo playbooks/site.yaml --yes")]
    Apply(apply::ApplyArgs),
    /// Look at the inventory
    #[command(after_help = "Example: provision inventory show ctl-par1-01 --origins -i inventories/demo")]
    Inventory(inventory::InventoryArgs),
    /// Read a host's facts
    #[command(after_help = "Example: provision facts ctl-par1-01 -i inventories/demo")]
    Facts(facts::FactsArgs),
    /// Run a command on hosts, in parallel, as root
    #[command(after_help = "Example: provision exec role=etcd -i inventories/demo -- systemctl is-active etcd")]
    Exec(exec::ExecArgs),
    /// Fetch host keys, show their fingerprints, and write them into the inventory for review
    #[command(after_help = "Example: provision trust site=par1 -i inventories/demo")]
    Trust(trust::TrustArgs),
    /// Show hosts, plays or resources as a graph, without touching any host
    #[command(after_help = "Example: provision graph -i inventories/demo --scope hosts --format svg > hosts.svg")]
    Graph(graph::GraphArgs),
    /// List the rules that inventories and playbooks are checked against, or explain one
    #[command(after_help = "Example: provision rules PA022-R7")]
    Rules(rules::RulesArgs),
    /// Show the flow matrix by zone or by host, without touching any host
    #[command(after_help = "Example: provision matrix -i inventories/demo --by host --limit ctl-par1-01")]
    Matrix(matrix::MatrixArgs),
    /// Prove the flow matrix on the hosts: what must connect does, what must not does not, and nothing else is there
    #[command(after_help = "Example: provision verify -i inventories/demo --out proof.json")]
    Verify(verify::VerifyArgs),
    /// Audit the hosts in service against the rules, without changing anything on them
    #[command(after_help = "Example: provision audit -i inventories/demo --format html --out audit.html")]
    Audit(audit::AuditArgs),
    /// Explain a kind: its arguments and an example; or templates, facts, selectors
    #[command(after_help = "Example: provision explain file")]
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the files, for editors and checks
    #[command(after_help = "Example: provision schema playbook > playbook.schema.json")]
    Schema(schema::SchemaArgs),
    /// Print what a shell needs to complete the command line
    #[command(after_help = "Example: provision completions bash > /etc/bash_completion.d/provision")]
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write the pages of all commands into a folder
    #[command(after_help = "Example: provision man /usr/local/share/man/man1")]
    Man(man::ManArgs),
}

/// Runs the program on the command line's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for, and no mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            error.print().ok();
            return exit.into();
        }
    };
    let verbosity = match (cli.common.quiet, cli.common.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let printer = Printer::new(verbosity, cli.common.json, cli.common.color);
    start_logs();
    printer.end(dispatch(&cli, &printer)).into()
}

/// Logs of the libraries go to standard error where `PROVISION_LOG` asks for them.
fn start_logs() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("PROVISION_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}

fn dispatch(cli: &Cli, printer: &Printer) -> Exit {
    let common = &cli.common;
    match &cli.command {
        Command::Init(args) => init::run(args, printer),
        Command::Validate(args) => validate::run(args, common, printer),
        Command::Plan(args) => plan::run(args, common, printer),
        Command::Apply(args) => apply::run(args, common, printer),
        Command::Inventory(args) => inventory::run(args, common, printer),
        Command::Facts(args) => facts::run(args, common, printer),
        Command::Exec(args) => exec::run(args, common, printer),
        Command::Trust(args) => trust::run(args, common, printer),
        Command::Graph(args) => graph::run(args, common, printer),
        Command::Rules(args) => rules::run(args, printer),
        Command::Matrix(args) => matrix::run(args, common, printer),
        Command::Verify(args) => verify::run(args, common, printer),
        Command::Audit(args) => audit::run(args, common, printer),
        Command::Explain(args) => explain::run(args, printer),
        Command::Schema(args) => schema::run(args, printer),
        Command::Completions(args) => completions::run(args, printer),
        Command::Man(args) => man::run(args, printer),
    }
}

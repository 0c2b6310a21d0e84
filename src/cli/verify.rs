//! `verify`: the flow matrix proved on the hosts, by connections that are tried and by what is found there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

use super::Common;
use super::exit::Exit;
use super::fleet::{self, Patience};
use super::policy::LangChoice;
use super::printer::{Printer, Verbosity};
use super::project::{limited, load_inventory, route, today};
use crate::addr::HostName;
use crate::diag::{Diagnostic, Diagnostics, Sources};
use crate::engine::{self, Fleet, HostFailure, Listener};
use crate::event::Reach;
use crate::fs;
use crate::journal;
use crate::live::network;
use crate::model::inventory::{Host, Inventory};
use crate::model::matrix::{Matrix, Transport};
use crate::policy::network::{Contradiction, HostNetwork, LiveNetwork};
use crate::policy::{self, Lang, Level, Report};
use crate::proof::expect::{self, Expectations, Probe, Scope, Untried};
use crate::proof::judge::{self, Witness};
use crate::proof::probe::{self, Heard};
use crate::proof::{Cell, Expected, Finding, Note, Proof, Seen, VERSION, Verdict};
use crate::report::findings::{self, Checked};
use crate::report::proof::{View, junit as proof_junit};
use crate::report::{Counted, ProgressMode};
use crate::resource::firewall;
use crate::resource::read::{Answers, Query, Reading};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Try every pair of addresses, and not a sample of what must not connect
    #[arg(long)]
    exhaustive: bool,
    /// How long a connection may take, in seconds; all of a host are tried at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60), value_name = "SECONDS")]
    timeout: u32,
    /// Write the proof into a file too, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<Utf8PathBuf>,
    /// How the result is written; what is not for people goes to standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// The language of the report
    #[arg(long, value_enum, default_value_t, value_name = "LANG")]
    lang: LangChoice,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Human,
    /// The proof as JSON, as `--json` says too
    Json,
    /// The findings as SARIF 2.1.0
    Sarif,
    /// The connections by zones, and the findings, as JUnit XML
    Junit,
}

/// What a host's answer to its probes is found by.
const PROBES: &str = "probes";

/// What a host's answer to the question for its counters is found by.
const COUNTERS: &str = "counters";

/// What the hosts said.
#[derive(Default)]
struct Asked {
    heard: BTreeMap<HostName, Heard>,
    networks: BTreeMap<HostName, HostNetwork>,
    reached: BTreeSet<HostName>,
    failed: BTreeMap<HostName, HostFailure>,
    /// Datagrams that nobody answered and that their destination has counted.
    counted: BTreeSet<usize>,
    /// What could not be read of hosts that were reached.
    problems: BTreeMap<HostName, String>,
}

pub(super) fn run(args: &VerifyArgs, common: &Common, printer: &Printer) -> Exit {
    let lang: Lang = args.lang.into();
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let inventory = load_inventory(common, &mut sources, &mut problems);
    let Some(inventory) = inventory else {
        printer.diagnostics_in(lang, &problems, &sources);
        return Exit::Error;
    };
    let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
    let matrix = Matrix::build(&inventory, &mut problems);
    if inventory.flows.is_empty() {
        let problem = Diagnostic::error("no-flows", "the inventory has no flow matrix, so there is nothing to verify");
        problems.push(problem.help("declare under `flows` who may talk to whom"));
    }
    if problems.has_errors() {
        problems.sort();
        printer.diagnostics_in(lang, &problems, &sources);
        return Exit::Error;
    }
    let scope = if args.exhaustive { Scope::Exhaustive } else { Scope::Sample };
    let expectations = expect::build(&matrix, &hosts, scope);
    let (connector, runtime) = match fleet::ready_with(common, &inventory, Patience::Short, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let progress = printer.progress(Counted::Hosts(hosts.len()), ProgressMode::Quiet);
    let at = journal::now();
    let asked = runtime.block_on(async {
        let routes = hosts.iter().filter_map(|host| route(&inventory, host)).collect();
        let fleet = fleet::start(connector, routes, common);
        let listener = |event| progress.event(&event);
        let mut by_source: BTreeMap<&HostName, Vec<usize>> = BTreeMap::new();
        for (number, probe) in expectations.probes.iter().enumerate() {
            by_source.entry(&probe.from).or_default().push(number);
        }
        let seconds = args.timeout;
        let verifying = Verifying { fleet: &fleet, matrix: &matrix, expectations: &expectations, by_source, seconds };
        let asked = tokio::select! {
            asked = verifying.ask(&hosts, &listener) => Some(asked),
            _ = tokio::signal::ctrl_c() => None,
        };
        if asked.is_some() {
            fleet.close().await;
        }
        asked
    });
    progress.finish();
    runtime.shutdown_background();
    let Some(asked) = asked else {
        printer.say("interrupted; nothing was changed");
        return Exit::Interrupted;
    };
    for (host, problem) in &asked.problems {
        printer.error(&format!("{host}: {problem}"), None);
    }
    let cells = judged(&expectations, &matrix, &asked);
    let live = live(&inventory, &expectations, &cells, &asked);
    let report = policy::check_network(&inventory, &live, today(common), lang, &mut problems);
    let proof = Proof {
        version: VERSION,
        at,
        inventory: common.inventory.as_ref().map_or_else(|| "inventory".to_owned(), ToString::to_string),
        cells,
        findings: report.findings.iter().map(|finding| finding_of(finding, &inventory, &sources)).collect(),
        unreachable: asked.failed.iter().map(|(host, failure)| (host.clone(), failure.error.clone())).collect(),
    };
    let checked =
        Checked { problems: &problems, report: Some(&report), inventory: Some(&inventory), sources: &sources, lang };
    let untried = untried(&expectations, &matrix, lang);
    let view = View {
        proof: &proof,
        inventory: &inventory,
        left_out: expectations.left_out,
        untried: &untried,
        lang,
        color: printer.stdout_style(),
        width: printer.width(),
    };
    print(args, &view, &checked, printer);
    if let Some(out) = &args.out
        && let Err(error) = save(&proof, out)
    {
        printer.error(&engine::with_causes(&error), None);
        return Exit::Error;
    }
    exit(&proof, &report, &asked)
}

fn exit(proof: &Proof, report: &Report, asked: &Asked) -> Exit {
    if proof.count(Verdict::Contradicted) > 0 || report.has_errors() {
        Exit::Error
    } else if !asked.failed.is_empty() || !asked.problems.is_empty() {
        Exit::Partial
    } else {
        Exit::Done
    }
}

fn print(args: &VerifyArgs, view: &View<'_>, checked: &Checked<'_>, printer: &Printer) {
    match args.format {
        Format::Human if !printer.json => {
            printer.data(&view.text());
            let verbose = printer.verbosity == Verbosity::Verbose;
            printer.diagnostics_in(checked.lang, &checked.diagnostics(verbose), checked.sources);
            printer.note_lines(&findings::summary(checked, printer.stderr_style(), printer.width()));
        }
        Format::Human | Format::Json => printer.json(&serde_json::to_value(view.proof).unwrap_or_default()),
        Format::Sarif => printer.json(&findings::sarif(checked)),
        Format::Junit => printer.data(&proof_junit(view, checked)),
    }
}

fn save(proof: &Proof, out: &camino::Utf8Path) -> Result<(), fs::FsError> {
    let mut json = serde_json::to_vec_pretty(proof).unwrap_or_default();
    json.push(b'\n');
    fs::write_atomic(out, &json, 0o644)
}

/// Asks the hosts.
struct Verifying<'a> {
    fleet: &'a Fleet,
    matrix: &'a Matrix<'a>,
    expectations: &'a Expectations,
    /// The numbers of each host's probes.
    by_source: BTreeMap<&'a HostName, Vec<usize>>,
    seconds: u32,
}

impl Verifying<'_> {
    async fn ask(&self, hosts: &[&Host], listener: &Listener<'_>) -> Asked {
        let every = |_: usize| true;
        let inventory = self.matrix.inventory();
        let (hosts, without): (Vec<&Host>, Vec<&Host>) =
            hosts.iter().partition(|host| route(inventory, host).is_some());
        let readings: BTreeMap<HostName, Reading> = hosts
            .into_iter()
            .map(|host| {
                let mut reading = Reading::default();
                network::queries().into_iter().for_each(|query| reading.ask(query));
                reading.ask(self.probes(&host.name, &every));
                (host.name.clone(), reading)
            })
            .collect();
        let (answers, mut failed) = engine::ask(self.fleet, &readings, listener).await;
        for host in without {
            let error = "it has no address to log in to".to_owned();
            failed.insert(host.name.clone(), HostFailure { error, hint: None, reach: Reach::Reached });
        }
        let mut asked = Asked { failed, ..Asked::default() };
        for (host, answers) in &answers {
            asked.reached.insert(host.clone());
            match heard(answers) {
                Ok(heard) => drop(asked.heard.insert(host.clone(), heard)),
                Err(problem) => drop(asked.problems.insert(host.clone(), problem)),
            }
            let flows = inventory.host(host.as_str()).map(|host| self.matrix.host(host));
            let network = network::parse(&flows.unwrap_or_default(), answers);
            if let Some(why) = network.unread.values().next() {
                asked.problems.entry(host.clone()).or_insert_with(|| why.words(Lang::En));
            }
            asked.networks.insert(host.clone(), network);
        }
        asked.counted = self.counted(&asked).await;
        asked
    }

    /// Returns the question that tries the probes of a host, or some of them.
    fn probes(&self, host: &HostName, wanted: &dyn Fn(usize) -> bool) -> Query {
        let own = self.by_source.get(host).into_iter().flatten().filter(|number| wanted(**number));
        let own = own.filter_map(|number| Some((*number, self.expectations.probes.get(*number)?)));
        let script = probe::script(own, self.seconds);
        Query::Snippet { key: PROBES.to_owned(), tools: probe::TOOLS.to_vec(), script }
    }

    /// Sends datagrams that nobody answered once more, and returns those that their destination has counted: of what is
    /// allowed among the datagrams of its flow, of what is denied among those that it has dropped.
    async fn counted(&self, asked: &Asked) -> BTreeSet<usize> {
        let cells = judged(self.expectations, self.matrix, asked);
        // A kernel says "port unreachable" only a few times in a second, so its silence proves nothing either.
        let is_silent = |cell: &Cell| {
            let is_dropped = cell.expected == Expected::Allowed && cell.seen == Seen::Dropped;
            let is_udp = cell.transport == Transport::Udp && asked.reached.contains(&cell.to);
            is_udp && (is_dropped || cell.seen == Seen::Silent)
        };
        let probes = self.expectations.probes.iter().zip(&cells).enumerate();
        let silent: BTreeMap<usize, &Probe> =
            probes.filter(|(_, (_, cell))| is_silent(cell)).map(|(number, (probe, _))| (number, probe)).collect();
        if silent.is_empty() {
            return BTreeSet::new();
        }
        let reading = |host: &HostName, query: Query| {
            let mut reading = Reading::default();
            reading.ask(query);
            (host.clone(), reading)
        };
        let wanted = |number: usize| silent.contains_key(&number);
        let sources = silent.values().map(|probe| reading(&probe.from, self.probes(&probe.from, &wanted))).collect();
        let counters = || {
            let script = firewall::counters_question();
            Query::Snippet { key: COUNTERS.to_owned(), tools: Vec::new(), script }
        };
        let destinations = silent.values().map(|probe| reading(&probe.to, counters())).collect();
        let (before, _) = engine::ask(self.fleet, &destinations, &|_| {}).await;
        engine::ask(self.fleet, &sources, &|_| {}).await;
        let (after, _) = engine::ask(self.fleet, &destinations, &|_| {}).await;
        let mut groups: BTreeMap<(&HostName, Option<usize>), Vec<usize>> = BTreeMap::new();
        for (number, probe) in &silent {
            groups.entry((&probe.to, probe.flow)).or_default().push(*number);
        }
        let mut counted = BTreeSet::new();
        for ((to, flow), numbers) in groups {
            let flow = flow.and_then(|at| self.matrix.flows().get(at)).map(|flow| flow.name.as_str());
            let [before, after] = [&before, &after].map(|answers| packets(answers.get(to), flow));
            // A counter tells how many came and not whose, so all of them must have.
            if let (Some(before), Some(after)) = (before, after)
                && after.saturating_sub(before) >= numbers.len() as u64
            {
                counted.extend(numbers);
            }
        }
        counted
    }
}

/// Returns how many packets of a flow a host has counted; without a flow, how many it has dropped.
fn packets(answers: Option<&Answers>, flow: Option<&str>) -> Option<u64> {
    let counted = firewall::counted(&answers?.snippet(COUNTERS)?.text());
    match flow {
        Some(flow) => counted.by_flow.get(flow).copied(),
        None => Some(counted.dropped),
    }
}

fn heard(answers: &Answers) -> Result<Heard, String> {
    for (tool, package) in probe::TOOLS {
        if answers.lacks(tool) {
            return Err(format!("it has no `{tool}`, so it can try nothing: install the package `{package}`"));
        }
    }
    let answer = answers.snippet(PROBES).ok_or("it said nothing of its probes")?;
    probe::parse(&answer.text()).map_err(|error| error.to_string())
}

fn judged(expectations: &Expectations, matrix: &Matrix<'_>, asked: &Asked) -> Vec<Cell> {
    let listens = |host: &HostName, address: IpAddr, transport: Transport, port: u16| {
        let network = asked.networks.get(host)?;
        let is_it = |listener: &policy::network::Listener| {
            listener.transport == transport && listener.port == port && listener.is_at(address)
        };
        Some(network.listeners.iter().any(is_it))
    };
    let witness = Witness {
        heard: &asked.heard,
        reached: &asked.reached,
        unreachable: &asked.failed.keys().cloned().collect(),
        listens: &listens,
        counted: &asked.counted,
    };
    judge::judge(expectations, matrix, &witness)
}

/// Returns what the rules look at.
fn live(inventory: &Inventory, expectations: &Expectations, cells: &[Cell], asked: &Asked) -> LiveNetwork {
    let contradicted = expectations.probes.iter().zip(cells).filter(|(_, cell)| cell.verdict == Verdict::Contradicted);
    let contradictions = contradicted.map(|(probe, cell)| {
        let is_held_back = cell.note == Some(Note::HeldBackBySource);
        let seen = if is_held_back { cell.around.unwrap_or(cell.seen) } else { cell.seen };
        Contradiction {
            from: cell.from.clone(),
            source: cell.source,
            to: cell.to.clone(),
            address: cell.address,
            transport: cell.transport,
            port: cell.port,
            flow: probe.flow,
            is_held_back,
            seen: seen.words(),
        }
    });
    let alive = judge::alive(expectations, &asked.heard, &asked.reached);
    // A host behind a bastion that is not there is not closed by itself.
    let has_way = |host: &Host| inventory.hops(host).iter().all(|hop| !asked.failed.contains_key(&hop.name));
    let closed = asked.failed.iter().filter(|(host, failure)| {
        let is_there = failure.reach == Reach::Unreachable && alive.contains(*host);
        is_there && inventory.host(host.as_str()).is_some_and(has_way)
    });
    LiveNetwork {
        hosts: asked.networks.clone(),
        contradictions: contradictions.collect(),
        closed: closed.map(|(host, failure)| (host.clone(), failure.error.clone())).collect(),
    }
}

/// Returns the flows that were not tried, each with why.
fn untried(expectations: &Expectations, matrix: &Matrix<'_>, lang: Lang) -> Vec<String> {
    let told = expectations.untried.iter().filter_map(|(at, untried)| {
        let why = &matrix.flows().get(*at)?.flow.why;
        let because = match (untried, lang) {
            (Untried::Outside, Lang::En) => "one of its ends is outside the fleet",
            (Untried::Outside, Lang::Fr) => "un de ses bouts est hors de la flotte",
            (Untried::NoPorts, Lang::En) => "it opens no port",
            (Untried::NoPorts, Lang::Fr) => "il n'ouvre pas de port",
            (Untried::Nobody, Lang::En) => "there are not two hosts at its ends",
            (Untried::Nobody, Lang::Fr) => "il n'y a pas deux hôtes à ses bouts",
        };
        Some((why.value.clone(), because))
    });
    told.map(|(why, because)| match lang {
        Lang::En => format!("the flow `{why}`: {because}"),
        Lang::Fr => format!("le flux « {why} » : {because}"),
    })
    .collect()
}

fn finding_of(finding: &policy::Finding, inventory: &Inventory, sources: &Sources) -> Finding {
    let level = match finding.level {
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let hosts = finding.hosts.iter().filter_map(|at| inventory.hosts.get_index(*at));
    Finding {
        rule: finding.rule.to_string(),
        level: level.to_owned(),
        subject: finding.subject.clone(),
        hosts: hosts.map(|(name, _)| name.clone()).collect(),
        message: finding.message.clone(),
        place: finding.place.as_ref().map(|place| sources.locate(place.span).to_string()),
        help: finding.help.clone(),
    }
}

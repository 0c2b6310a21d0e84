//! `apply`: a playbook after its plan was approved, or exactly a saved plan.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::exit::Exit;
use super::plan::{failures, inputs, replacing, show};
use super::printer::{Printer, Verbosity};
use super::project::{Project, SecretUse};
use super::{Common, fleet, policy};
use crate::addr::{HostName, ResourceAddr};
use crate::diag::{Diagnostics, Sources};
use crate::engine::{self, Applied, ApplyRequest, Fleet, HostFailure, ObserveRequest, ObservedHost, Purpose, Stop};
use crate::event::{Event, Outcome, Reach};
use crate::fs;
use crate::journal::{self, Journal};
use crate::plan::HostPlan;
use crate::plan::bind::{Binder, HostInput};
use crate::plan::saved::{SavedHost, SavedPlan, StaleError, VERSION};
use crate::report::{self, Counted, ProgressMode};

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A playbook, or a plan that `provision plan --out` saved
    #[arg(default_value = "playbooks/site.yaml")]
    file: Utf8PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Replace what can only be changed by making it anew, such as a virtual machine of another machine type
    #[arg(long)]
    allow_replace: bool,
    /// How long a host waits for a new login to confirm a change that can cut the way to it; then it takes it back
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=3600))]
    confirm_timeout: u64,
    /// Where the journals of runs are kept
    #[arg(long, env = "PROVISION_JOURNAL", default_value = ".provision/journal", value_name = "FOLDER")]
    journal: Utf8PathBuf,
    /// Write how each resource ended as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<Utf8PathBuf>,
}

pub(super) fn run(args: &ApplyArgs, common: &Common, printer: &Printer) -> Exit {
    let is_playbook = matches!(args.file.extension(), Some("yaml" | "yml"));
    if is_playbook {
        return apply(args, &args.file, None, common, printer);
    }
    let saved = match read_plan(&args.file) {
        Ok(saved) => saved,
        Err(error) => {
            let hint = "give a playbook (`.yaml`) or a file that `provision plan --out` wrote";
            printer.error(&error, Some(hint));
            return Exit::Error;
        }
    };
    let mut common = common.clone();
    let options = &saved.options;
    let given =
        common.limit.is_some() || !common.tags.is_empty() || !common.skip_tags.is_empty() || !common.set.is_empty();
    if given || args.allow_replace {
        printer.error(
            "a saved plan brings its own `--limit`, `--tags`, `--set` and `--allow-replace`",
            Some("make another plan with the ones you want"),
        );
        return Exit::Usage;
    }
    common.inventory = Some(options.inventory.clone());
    common.limit = options.limit.clone();
    common.tags = options.tags.clone();
    common.skip_tags = options.skip_tags.clone();
    common.set = options.set.clone();
    let playbook = options.playbook.clone();
    apply(args, &playbook, Some(&saved), &common, printer)
}

fn read_plan(path: &Utf8Path) -> Result<SavedPlan, String> {
    let text = fs::read_to_string(path).map_err(|error| engine::with_causes(&error))?;
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|error| format!("{path} is not a saved plan: {error}"))?
        .get("version")
        .and_then(serde_json::Value::as_u64);
    if let Some(version) = version
        && version > u64::from(VERSION.0)
    {
        return Err(format!("{path} has version {version}, and this tool knows up to {}", VERSION.0));
    }
    serde_json::from_str(&text).map_err(|error| format!("{path} is not a saved plan: {error}"))
}

fn apply(args: &ApplyArgs, playbook: &Utf8Path, saved: Option<&SavedPlan>, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let project = Project::load(common, playbook, SecretUse::LookUp, &printer.vault, &mut sources, &mut problems);
    let Some(project) = project.filter(|_| !problems.has_errors()) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let allow_replace = saved.map_or(args.allow_replace, |saved| saved.options.allow_replace);
    let binder = project.binder(&mut problems).replacing(replacing(allow_replace));
    let (bounds, order) = project.bind(&binder, &mut problems);
    if problems.has_errors() {
        problems.sort();
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    }
    if policy::refuses(&project, &bounds, &mut sources, common, printer) {
        return Exit::Error;
    }
    if let Some(saved) = saved
        && let Err(error) = check_inputs(saved, &inputs(&sources, &project))
    {
        printer.error(&error.to_string(), Some("make a new plan; nothing was changed"));
        return Exit::Error;
    }
    let (connector, runtime) = match fleet::ready(common, &project.inventory, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let run = engine::new_run_id();
    let lock = fleet::lock(&run);
    let asks = !args.yes;
    if asks && !console::Term::stdout().is_term() {
        printer.error("there is no terminal to ask on", Some("give `--yes`, or apply a saved plan with `--yes`"));
        return Exit::Usage;
    }
    let mut session = Session { project: &project, binder: &binder, sources: &sources, printer, bounds: Some(bounds) };
    let exit = runtime.block_on(async {
        let fleet = fleet::start(connector, project.routes(), common);
        // With `--yes` the lock is taken by the one reading; otherwise nobody is locked out while somebody thinks.
        let first_lock = (!asks).then(|| lock.clone());
        let Some((mut observed, mut failed)) = session.observe(&fleet, first_lock).await else { return Exit::Interrupted };
        session.show(&observed, &failed, asks);
        let shown: BTreeMap<HostName, SavedHost> = match saved {
            Some(saved) => saved.hosts.iter().map(|host| (host.host.clone(), host.clone())).collect(),
            None => observed.iter().map(|(name, host)| (name.clone(), SavedHost::of(&host.plan))).collect(),
        };
        if observed.is_empty() {
            fleet.close().await;
            return Exit::Error;
        }
        if observed.values().all(|host| host.plan.is_empty()) && saved.is_none() {
            fleet.close().await;
            let broken = !failed.is_empty() || observed.values().any(|host| host.plan.failures().next().is_some());
            return if broken { Exit::Partial } else { Exit::Done };
        }
        if asks {
            match tokio::task::spawn_blocking(confirm).await {
                Ok(true) => {}
                _ => {
                    printer.say("Nothing was changed.");
                    fleet.close().await;
                    return Exit::Interrupted;
                }
            }
            let Some(again) = session.observe(&fleet, Some(lock.clone())).await else { return Exit::Interrupted };
            observed = again.0;
            failed.extend(again.1);
        }
        refuse_changed(&shown, &mut observed, &mut failed, printer);
        let mut journal = match begin_journal(args, playbook, common, &run) {
            Ok(journal) => journal,
            Err(error) => {
                printer.error(&engine::with_causes(&error), Some("a run that cannot keep its journal changes nothing"));
                fleet.close().await;
                return Exit::Error;
            }
        };
        let resources = observed.values().map(|host| host.plan.entries.len()).sum();
        let progress = printer.progress(Counted::Resources(resources), ProgressMode::Json);
        let stop = Stop::default();
        let listener = |event: Event| progress.event(&event);
        listener(Event::RunStarted {
            run: run.clone(),
            command: "apply".to_owned(),
            hosts: observed.keys().cloned().collect(),
        });
        let inputs: BTreeMap<HostName, HostInput> =
            project.hosts.iter().map(|host| (host.name.clone(), host.clone())).collect();
        let request = ApplyRequest {
            fleet: &fleet,
            binder: &binder,
            sources: &sources,
            playbook: &project.playbook,
            order: &order,
            inputs: &inputs,
            observed: &observed,
            failed: &failed,
            run: &run,
            lock: &lock,
            vault: &printer.vault,
            confirm_seconds: args.confirm_timeout,
            stop: stop.clone(),
            listener: &listener,
        };
        let (applied, journal_error) = {
            let mut running = std::pin::pin!(request.run(&mut journal));
            loop {
                tokio::select! {
                    done = &mut running => break done,
                    _ = tokio::signal::ctrl_c() => {
                        if stop.is_asked() {
                            printer.say("interrupted twice: leaving at once; what was being done goes on on the hosts to the end of its step");
                            return Exit::Interrupted;
                        }
                        printer.say("interrupted: what is being done is finished, nothing more is begun (once more to leave at once)");
                        stop.ask();
                    }
                }
            }
        };
        progress.finish();
        fleet.close().await;
        if let Some(error) = journal_error {
            printer.error(&engine::with_causes(&error), Some("the run was ended, because it could not keep its journal"));
        }
        failed.extend(applied.lost.clone());
        let exit = exit_of(&applied, &failed, stop.is_asked());
        journal.add_durably(&[journal::Entry::End { at: journal::now(), exit: exit.code() }]).ok();
        session.summary(&applied, &failed);
        if let Some(path) = &args.junit {
            let text = report::summary::junit(&applied.outcomes, &failures(&failed), &printer.vault);
            if let Err(error) = fs::write_atomic(path, text.as_bytes(), 0o644) {
                printer.error(&engine::with_causes(&error), None);
            }
        }
        printer.note(&format!("The journal of the run is {}.", journal.path()));
        exit
    });
    // An interrupted run leaves tasks behind that wait for hosts; nobody waits for them.
    runtime.shutdown_background();
    exit
}

/// What the parts of a run share.
struct Session<'a> {
    project: &'a Project,
    binder: &'a Binder<'a>,
    sources: &'a Sources,
    printer: &'a Printer,
    bounds: Option<Vec<(HostName, Vec<crate::plan::bind::Bound>)>>,
}

type Observation = (BTreeMap<HostName, ObservedHost>, BTreeMap<HostName, HostFailure>);

impl Session<'_> {
    async fn observe(&mut self, fleet: &Fleet, lock: Option<engine::job::Lock>) -> Option<Observation> {
        let mut problems = Diagnostics::default();
        let bounds = self.bounds.take().unwrap_or_else(|| self.project.bind(self.binder, &mut problems).0);
        let progress = self.printer.progress(Counted::Hosts(self.project.hosts.len()), ProgressMode::Json);
        let listener = |event| progress.event(&event);
        let request = ObserveRequest {
            fleet,
            binder: self.binder,
            sources: self.sources,
            hosts: &self.project.hosts,
            bounds: bounds.into_iter().collect(),
            facts: Default::default(),
            lock,
            purpose: Purpose::Apply,
            patience: None,
            listener: &listener,
        };
        let result = tokio::select! {
            result = request.run(&mut problems) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        };
        progress.finish();
        if !problems.is_empty() {
            self.printer.diagnostics(&problems, self.sources);
        }
        if result.is_none() {
            self.printer.say("interrupted; nothing was changed");
        }
        result
    }

    /// Shows the plan: whole where it is to be approved, as one line where it was.
    fn show(&self, observed: &BTreeMap<HostName, ObservedHost>, failed: &BTreeMap<HostName, HostFailure>, asks: bool) {
        let plans: Vec<HostPlan> = self
            .project
            .hosts
            .iter()
            .filter_map(|host| observed.get(&host.name))
            .map(|host| host.plan.clone())
            .collect();
        if self.printer.json || self.printer.verbosity == Verbosity::Quiet {
            return;
        }
        if asks || self.printer.verbosity == Verbosity::Verbose {
            show(&plans, failed, false, self.printer);
        } else {
            self.printer.data(&report::plan::summary(&plans, &failures(failed)));
        }
    }

    fn summary(&self, applied: &Applied, failed: &BTreeMap<HostName, HostFailure>) {
        let (failures, vault) = (failures(failed), &self.printer.vault);
        if self.printer.json {
            self.printer.data(&report::summary::to_json(&applied.outcomes, &failures, vault).to_string());
        } else {
            let style = self.printer.stdout_style();
            let width = self.printer.width();
            self.printer.data(&report::summary::render(&applied.outcomes, &failures, vault, style, width));
        }
    }
}

fn confirm() -> bool {
    let asked = dialoguer::Confirm::new().with_prompt("Apply this plan?").default(false).interact();
    asked.unwrap_or(false)
}

fn check_inputs(saved: &SavedPlan, now: &BTreeMap<Utf8PathBuf, String>) -> Result<(), StaleError> {
    let changed = saved
        .inputs
        .iter()
        .find(|(path, digest)| now.get(*path) != Some(digest))
        .map(|(path, _)| path)
        .or_else(|| now.keys().find(|path| !saved.inputs.contains_key(*path)));
    changed.map_or(Ok(()), |file| Err(StaleError::Input { file: file.clone() }))
}

/// Takes out the hosts that are not as they were when the plan was shown or saved.
fn refuse_changed(
    shown: &BTreeMap<HostName, SavedHost>,
    observed: &mut BTreeMap<HostName, ObservedHost>,
    failed: &mut BTreeMap<HostName, HostFailure>,
    printer: &Printer,
) {
    let stale: Vec<(HostName, String)> = observed
        .iter()
        .filter_map(|(name, host)| match shown.get(name) {
            Some(planned) => planned.check(&host.plan).err().map(|error| (name.clone(), error.to_string())),
            None => Some((name.clone(), format!("{name} is not in the plan"))),
        })
        .collect();
    for (name, error) in stale {
        printer.error(&error, Some("make a new plan for this host; nothing was changed on it"));
        observed.remove(&name);
        failed.insert(name, HostFailure { error, hint: None, reach: Reach::Reached });
    }
}

fn begin_journal(
    args: &ApplyArgs,
    playbook: &Utf8Path,
    common: &Common,
    run: &crate::addr::RunId,
) -> Result<Journal, journal::JournalError> {
    let mut journal = Journal::create(&args.journal, run)?;
    let inputs = common.inventory.iter().cloned().chain([playbook.to_owned()]).collect();
    let version = journal::VERSION;
    let first = journal::Entry::Run { version, run: run.clone(), owner: fleet::owner(), at: journal::now(), inputs };
    journal.add_durably(&[first])?;
    Ok(journal)
}

fn exit_of(applied: &Applied, failed: &BTreeMap<HostName, HostFailure>, interrupted: bool) -> Exit {
    let not_done = |(_, outcome): (&ResourceAddr, &Outcome)| !matches!(outcome, Outcome::Unchanged | Outcome::Changed);
    if interrupted {
        Exit::Interrupted
    } else if applied.outcomes.values().any(|outcome| matches!(outcome, Outcome::Unproven { .. })) {
        Exit::Unproven
    } else if applied.outcomes.values().any(|outcome| matches!(outcome, Outcome::RolledBack { .. })) {
        Exit::RolledBack
    } else if !failed.is_empty() || applied.outcomes.iter().any(not_done) {
        Exit::Partial
    } else {
        Exit::Done
    }
}

//! `plan`: what would change, on the hosts as they are.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::exit::Exit;
use super::printer::{Printer, Verbosity};
use super::project::{Project, SecretUse};
use super::{Common, fleet, policy};
use crate::addr::HostName;
use crate::diag::{Diagnostics, Sources};
use crate::engine::{self, HostFailure, ObserveRequest, ObservedHost, Purpose};
use crate::fs;
use crate::plan::HostPlan;
use crate::plan::bind::Replacing;
use crate::plan::saved::{SavedHost, SavedOptions, SavedPlan, VERSION};
use crate::report::{self, Counted, ProgressMode};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The playbook
    #[arg(default_value = "playbooks/site.yaml")]
    playbook: Utf8PathBuf,
    /// Save the plan, to be applied exactly by `provision apply FILE`
    #[arg(short, long, value_name = "FILE")]
    out: Option<Utf8PathBuf>,
    /// Exit with 0 where there is nothing to do, 1 on an error, 2 where there is something to do
    #[arg(long)]
    detailed_exitcode: bool,
    /// Replace what can only be changed by making it anew, such as a virtual machine of another machine type
    #[arg(long)]
    allow_replace: bool,
    /// Print the plan for a merge request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

pub(super) fn run(args: &PlanArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let project = Project::load(common, &args.playbook, SecretUse::LookUp, &printer.vault, &mut sources, &mut problems);
    let Some(project) = project.filter(|_| !problems.has_errors()) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let binder = project.binder(&mut problems).replacing(replacing(args.allow_replace));
    let (bounds, _) = project.bind(&binder, &mut problems);
    if problems.has_errors() {
        problems.sort();
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    }
    if policy::refuses(&project, &bounds, &mut sources, common, printer) {
        return Exit::Error;
    }
    let (connector, runtime) = match fleet::ready(common, &project.inventory, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let progress = printer.progress(Counted::Hosts(project.hosts.len()), ProgressMode::Quiet);
    let mut found = Diagnostics::default();
    let outcome = runtime.block_on(async {
        let fleet = fleet::start(connector, project.routes(), common);
        let listener = |event| progress.event(&event);
        let request = ObserveRequest {
            fleet: &fleet,
            binder: &binder,
            sources: &sources,
            hosts: &project.hosts,
            bounds: bounds.into_iter().collect(),
            facts: Default::default(),
            lock: None,
            purpose: Purpose::Plan,
            patience: None,
            listener: &listener,
        };
        let result = tokio::select! {
            result = request.run(&mut found) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        };
        if result.is_some() {
            fleet.close().await;
        }
        result
    });
    progress.finish();
    let Some((observed, failed)) = outcome else {
        printer.say("interrupted; nothing was changed");
        return Exit::Interrupted;
    };
    if !found.is_empty() {
        printer.diagnostics(&found, &sources);
    }
    let plans = in_order(&project, observed);
    show(&plans, &failed, args.markdown, printer);
    let broken = !failed.is_empty() || plans.iter().any(|plan| plan.failures().next().is_some());
    if let Some(out) = &args.out {
        if broken {
            printer.error(
                "the plan is not saved, because some hosts could not be read",
                Some("leave them out with `--limit`"),
            );
            return Exit::Error;
        }
        if let Err(error) = save(out, args, common, &project, &sources, &plans) {
            printer.error(&engine::with_causes(&error), None);
            return Exit::Error;
        }
        printer.note(&format!("The plan is saved: `provision apply {out}` applies exactly it."));
    }
    if broken {
        return if plans.is_empty() || args.detailed_exitcode { Exit::Error } else { Exit::Partial };
    }
    let is_empty = plans.iter().all(HostPlan::is_empty);
    if args.detailed_exitcode && !is_empty { Exit::ChangesPending } else { Exit::Done }
}

/// Returns the plans in the order of the inventory.
pub(super) fn in_order(project: &Project, mut observed: BTreeMap<HostName, ObservedHost>) -> Vec<HostPlan> {
    project.hosts.iter().filter_map(|host| observed.remove(&host.name)).map(|host| host.plan).collect()
}

/// Prints plans, and the hosts that could not be read.
pub(super) fn show(plans: &[HostPlan], failed: &BTreeMap<HostName, HostFailure>, markdown: bool, printer: &Printer) {
    let failures = failures(failed);
    if printer.json {
        printer.json(&report::plan::to_json(plans, &failures));
    } else if markdown {
        printer.data(&report::plan::markdown(plans, &failures));
    } else {
        let options = report::plan::Options {
            color: printer.stdout_style(),
            width: printer.width(),
            verbose: printer.verbosity == Verbosity::Verbose,
        };
        printer.data(&report::plan::render(plans, &failures, &options));
    }
}

/// Returns the hosts that take no part as the report tells of them.
pub(super) fn failures(failed: &BTreeMap<HostName, HostFailure>) -> Vec<report::Failure> {
    failed
        .iter()
        .map(|(host, failure)| report::Failure {
            host: host.clone(),
            error: failure.error.clone(),
            hint: failure.hint.clone(),
            reach: failure.reach,
        })
        .collect()
}

fn save(
    out: &Utf8Path,
    args: &PlanArgs,
    common: &Common,
    project: &Project,
    sources: &Sources,
    plans: &[HostPlan],
) -> Result<(), fs::FsError> {
    let saved = SavedPlan {
        version: VERSION,
        run: engine::new_run_id(),
        created: crate::journal::now(),
        options: SavedOptions { allow_replace: args.allow_replace, ..options(&args.playbook, common) },
        inputs: inputs(sources, project),
        hosts: plans.iter().map(SavedHost::of).collect(),
    };
    let mut json = serde_json::to_vec_pretty(&saved).unwrap_or_default();
    json.push(b'\n');
    fs::write_atomic(out, &json, 0o600)
}

/// Returns the options that choose what is planned.
pub(super) fn options(playbook: &Utf8Path, common: &Common) -> SavedOptions {
    SavedOptions {
        inventory: common.inventory.clone().unwrap_or_else(|| Utf8PathBuf::from("inventory")),
        playbook: playbook.to_owned(),
        limit: common.limit.clone(),
        tags: common.tags.clone(),
        skip_tags: common.skip_tags.clone(),
        set: common.set.clone(),
        allow_replace: false,
    }
}

/// Returns what `--allow-replace` means.
pub(super) fn replacing(allowed: bool) -> Replacing {
    if allowed { Replacing::Allowed } else { Replacing::Refused }
}

/// Returns the digest of each file that was loaded.
pub(super) fn inputs(sources: &Sources, project: &Project) -> BTreeMap<Utf8PathBuf, String> {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut inputs: BTreeMap<Utf8PathBuf, String> =
        sources.iter().map(|(_, source)| (source.path().to_owned(), hex(source.text().as_bytes()))).collect();
    inputs.extend(project.contents.digests());
    inputs
}

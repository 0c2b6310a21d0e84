//! `reboot`: a new start of the host, where it was notified or where the host needs it.
//!
//! The step only asks for the reboot; that it happened is proved by `engine`, by another boot id. The boot id is no
//! part of what is observed here: a plan does not become stale because a host was restarted.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{Answers, Query, Want};
use super::spec::Seconds;
use super::{Kind, ObserveError, SpecProblem};
use crate::change::{Change, Effect, Step};
use crate::sh;
use crate::shell::Script;

/// A reboot of the host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// The resource's name, for `notify`. The default is `host`.
    #[serde(default = "host")]
    name: String,
    /// Whether it reboots when a resource that notifies it has changed.
    #[serde(default = "yes")]
    on_notify: bool,
    /// Whether it reboots where `/run/reboot-required` says so. Debian writes it only with `unattended-upgrades`,
    /// `needrestart` or `reboot-notifier`.
    #[serde(default)]
    when_required: bool,
    /// Whether it reboots where a newer kernel than the running one is installed.
    #[serde(default)]
    if_newer_kernel: bool,
    /// Whether it reboots each time.
    #[serde(default)]
    always: bool,
    /// What users who are logged in are told.
    #[serde(default)]
    message: Option<String>,
    /// How long the host may take until it is back. The default is ten minutes.
    #[serde(default = "ten_minutes")]
    timeout: Seconds,
}

fn host() -> String {
    "host".to_owned()
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Seconds {
    Seconds::of(600)
}

/// What was found of the need to reboot; none for what was not asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ObservedReboot {
    #[serde(skip_serializing_if = "Option::is_none")]
    is_required: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Kernels>,
}

/// The kernel that runs and the one that would.
#[derive(Clone, Debug, Serialize)]
struct Kernels {
    running: String,
    newer: Option<String>,
}

const REQUIRED: &str = "/run/reboot-required";
const KERNELS_KEY: &str = "kernels";

/// Compares two versions as people count: `6.1.0-9` is before `6.1.0-26`.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b))
}

/// Returns the flavour of a kernel's release: `cloud-amd64` of `6.1.0-26-cloud-amd64`.
fn flavour(release: &str) -> &str {
    let at = release
        .match_indices('-')
        .find(|(at, _)| release.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())));
    at.and_then(|(at, _)| release.get(at + 1..)).unwrap_or_default()
}

/// Reads what the host printed of its kernels.
fn parse_kernels(text: &str) -> Option<Kernels> {
    let value = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let running = value("running")?.to_owned();
    let newest = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .filter(|release| flavour(release) == flavour(&running))
        .max_by(|a, b| compare_versions(a, b));
    let mut newer = newest.filter(|newest| compare_versions(newest, &running).is_gt()).map(str::to_owned);
    // A security update may keep the release: then only the package's version differs from the one that was built.
    let built = value("built").and_then(|version| version.rsplit_once(" Debian "));
    let built = built.and_then(|(_, rest)| rest.split(' ').next());
    let package = value("package").filter(|version| !version.is_empty());
    if let (None, Some(built), Some(package)) = (&newer, built, package)
        && built != package
    {
        newer = Some(format!("{running} ({package})"));
    }
    Some(Kernels { running, newer })
}

impl Reboot {
    fn reboot_step(&self) -> Step {
        let message = self.message.as_deref().unwrap_or("The provisioner reboots this host.");
        let script = sh!("if [ -d /run/systemd/system ]; then systemctl reboot --message={}; else reboot; fi", message);
        let mut step = Step::new("reboot", script).within(self.timeout.count());
        step.effect = Effect::Reboots;
        step
    }
}

impl Kind for Reboot {
    const NAME: &'static str = "reboot";
    const SUMMARY: &'static str = "A reboot of the host, where it was notified or where the host needs it";
    const EXAMPLE: &'static str = r#"- reboot: {name: host}
- reboot: {name: kernel, if_newer_kernel: true, message: A newer kernel is installed., timeout: 15m}
"#;

    type Observed = ObservedReboot;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if !(self.on_notify || self.when_required || self.if_newer_kernel || self.always) {
            let problem = SpecProblem::new("on_notify", "nothing would ever make it reboot");
            problems.push(problem.help("give `when_required`, `if_newer_kernel` or `always`"));
        }
        if self.name.trim().is_empty() {
            problems.push(SpecProblem::new("name", "a name is not blank"));
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        if self.when_required {
            queries.push(Query::Path(REQUIRED.to_owned(), Want::Metadata));
        }
        if self.if_newer_kernel {
            // One process; the rest is builtins.
            let script = Script::constant(
                r#"read -r _v </proc/sys/kernel/osrelease; printf 'running %s\n' "$_v"
IFS= read -r _l </proc/version; printf 'built %s\n' "$_l"
for _k in /boot/vmlinuz-*; do
  if [ -e "$_k" ]; then printf 'installed %s\n' "${_k#/boot/vmlinuz-}"; fi
done
printf 'package '; dpkg-query -W -f='${Version}' "linux-image-$_v" 2>/dev/null || :
echo"#,
            );
            queries.push(Query::Snippet { key: KERNELS_KEY.to_owned(), tools: Vec::new(), script });
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedReboot, ObserveError> {
        let kernel = if self.if_newer_kernel {
            let text = answers.snippet(KERNELS_KEY).map(|output| output.text().into_owned()).unwrap_or_default();
            Some(
                parse_kernels(&text)
                    .ok_or_else(|| ObserveError::unexpected(self, "it does not say which kernel runs"))?,
            )
        } else {
            None
        };
        Ok(ObservedReboot { is_required: self.when_required.then(|| answers.path(REQUIRED).is_some()), kernel })
    }

    fn diff(&self, observed: &ObservedReboot) -> Change {
        let kernel = observed.kernel.as_ref();
        let newer = kernel.and_then(|kernel| kernel.newer.as_ref().map(|newer| (&kernel.running, newer)));
        let reason = if self.always {
            "it is asked for each time".to_owned()
        } else if observed.is_required == Some(true) {
            format!("{REQUIRED} is there")
        } else if let Some((running, newer)) = newer {
            format!("the kernel {newer} is installed, and {running} runs")
        } else {
            let reason = match (observed.is_required, kernel) {
                (None, None) => "it reboots only when it is notified".to_owned(),
                (Some(_), None) => format!("{REQUIRED} is not there"),
                (None, Some(kernel)) => format!("the newest kernel runs, {}", kernel.running),
                (Some(_), Some(kernel)) => {
                    format!("{REQUIRED} is not there, and the newest kernel runs, {}", kernel.running)
                }
            };
            return Change::no_op(self.id(), reason);
        };
        Change::run(self.id(), reason).step(self.reboot_step()).irreversible("a reboot has happened")
    }

    fn refresh(&self) -> Option<Vec<Step>> {
        self.on_notify.then(|| vec![self.reboot_step()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_the_same_flavour_counts() {
        assert_eq!(compare_versions("6.1.0-9-amd64", "6.1.0-26-amd64"), Ordering::Less);
        assert_eq!(flavour("6.1.0-26-cloud-amd64"), "cloud-amd64");
        assert_eq!(flavour("6.12.48+deb13-amd64"), "amd64");
        assert_eq!(flavour("6.18.44"), "");
    }
}

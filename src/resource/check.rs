//! `check`: waits until something answers, and changes nothing.
//!
//! A port is tried with bash's `/dev/tcp`, because bash is essential on Debian while `nc` is not there by default; where
//! there is no bash, with Perl, whose `perl-base` is essential too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, short_name};
use super::managed_file::sha256;
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Seconds};
use super::{Kind, ObserveError, SpecProblem};
use crate::change::{AttributeChange, Change, Reverse, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// Something that must answer before the run goes on. Give `command`, `port` or `path`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The resource's name. The default says what is waited for.
    #[serde(default)]
    name: Option<String>,
    /// Read-only shell text that must succeed.
    #[serde(default)]
    command: Option<String>,
    /// A TCP port that must accept a connection from this host.
    #[serde(default)]
    port: Option<u16>,
    /// The host name or address of the port. The default is `127.0.0.1`.
    #[serde(default)]
    host: Option<String>,
    /// A path that must be there.
    #[serde(default)]
    path: Option<HostPath>,
    /// The time between two attempts. The default is one second.
    #[serde(default = "one_second")]
    interval: Seconds,
    /// How long it may take until it answers. The default is one minute.
    #[serde(default = "one_minute")]
    timeout: Seconds,
}

fn one_second() -> Seconds {
    Seconds::of(1)
}

fn one_minute() -> Seconds {
    Seconds::of(60)
}

/// How long one attempt may take while a host is only read.
const LOOK_SECONDS: u32 = 5;
/// How much longer than its wait a step may take.
const GRACE_SECONDS: u32 = 15;
/// How long one connection to a port may take.
const CONNECT_SECONDS: u32 = 3;

/// Whether it answers.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedCheck {
    answers: bool,
}

impl Check {
    fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("127.0.0.1")
    }

    /// Returns what is waited for, in words.
    fn subject(&self) -> String {
        match (&self.command, self.port, &self.path) {
            (Some(command), ..) => short_name(command),
            (None, Some(port), _) if self.host().contains(':') => format!("port [{}]:{port}", self.host()),
            (None, Some(port), _) => format!("port {}:{port}", self.host()),
            (None, None, Some(path)) => format!("path {path}"),
            (None, None, None) => "nothing".to_owned(),
        }
    }

    /// Returns one attempt: what it prints is what it has to say.
    fn attempt(&self, seconds: Script) -> Script {
        if let Some(text) = &self.command {
            let call = Call::shell(text);
            return call.setup().then(call.command(seconds));
        }
        if let Some(port) = self.port {
            return sh!(
                r#"_host={}; _port={}
if command -v bash >/dev/null 2>&1; then
  timeout {} bash -c 'exec 3<>"/dev/tcp/$1/$2"' check "$_host" "$_port"
elif command -v perl >/dev/null 2>&1; then
  timeout {} perl -MIO::Socket::IP -e 'IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1]) or die "$@\n"' -- "$_host" "$_port"
else
  echo 'a port needs `bash` or `perl` on the host'; false
fi"#,
                self.host(),
                port,
                CONNECT_SECONDS,
                CONNECT_SECONDS
            );
        }
        match &self.path {
            Some(path) => sh!("[ -e {} ] || [ -L {} ]", path, path),
            None => Script::constant("false"),
        }
    }

    fn probe(&self) -> Query {
        if let (None, None, Some(path)) = (&self.command, self.port, &self.path) {
            return Query::Path(path.as_str().to_owned(), Want::Metadata);
        }
        let script = self.attempt(sh!("{}", LOOK_SECONDS));
        Query::Snippet { key: format!("check:{}", sha256(script.text().as_bytes())), tools: Vec::new(), script }
    }

    fn wait_step(&self) -> Step {
        let attempt = self.attempt(Script::constant("\"$_left\""));
        // The uptime cannot jump, unlike the clock of a host whose time is only just being set.
        let script = sh!(
            r#"_said=
read -r _up _ </proc/uptime; _end=$((${_up%.*} + {}))
while :; do
  read -r _up _ </proc/uptime; _left=$((_end - ${_up%.*}))
  [ "$_left" -gt 0 ] || break
  _rc=0; _said=$(
exec 2>&1
{}
) || _rc=$?
  if [ "$_rc" -eq 0 ]; then
    [ -z "$_said" ] || printf '%s\n' "$_said"
    exit 0
  fi
  sleep {}
done
echo {} >&2
[ -z "$_said" ] || printf 'the last attempt said: %.2000s\n' "$_said" >&2
exit 1"#,
            self.timeout.count(),
            attempt,
            self.interval.count(),
            format!("{} did not answer within {}", self.subject(), self.timeout)
        );
        Step::new(format!("wait for {}", self.subject()), script)
            .within(self.timeout.count().saturating_add(GRACE_SECONDS))
    }
}

impl Kind for Check {
    const NAME: &'static str = "check";
    const SUMMARY: &'static str = "Something that must answer before the run goes on";
    const EXAMPLE: &'static str = r#"- check: {port: 2379, timeout: 2m}
- check:
    name: etcd is healthy
    command: etcdctl endpoint health
    interval: 2s
- check: {path: /run/libvirt/libvirt-sock}
"#;

    type Observed = ObservedCheck;

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.subject())
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let given: Vec<&'static str> =
            [("command", self.command.is_some()), ("port", self.port.is_some()), ("path", self.path.is_some())]
                .into_iter()
                .filter_map(|(name, is_given)| is_given.then_some(name))
                .collect();
        match given.as_slice() {
            [] => {
                let problem = SpecProblem::new("", "it is not said what is waited for");
                problems.push(problem.help("give `command`, `port` or `path`"));
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` both say what is waited for");
                problems.push(SpecProblem::new(second, message).help("write two checks"));
            }
            [_] => {}
        }
        if self.host.is_some() && self.port.is_none() {
            problems.push(SpecProblem::new("host", "a host is waited for by one of its ports").help("give `port` too"));
        }
        let is_host = |host: &str| {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '%' | '_'))
        };
        if self.host.as_ref().is_some_and(|host| !is_host(host)) {
            problems.push(SpecProblem::new("host", format!("{:?} is no host name and no address", self.host())));
        }
        if self.port == Some(0) {
            problems.push(SpecProblem::new("port", "ports begin at 1"));
        }
        if self.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            problems.push(SpecProblem::new("name", "a name is not blank"));
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        vec![self.probe()]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedCheck, ObserveError> {
        let answers = match self.probe() {
            Query::Snippet { key, .. } => answers.snippet(&key).is_some_and(|output| output.succeeded()),
            Query::Path(path, _) => answers.path(&path).is_some(),
            _ => false,
        };
        Ok(ObservedCheck { answers })
    }

    fn diff(&self, observed: &ObservedCheck) -> Change {
        if observed.answers {
            return Change::no_op(self.id(), "it answers");
        }
        let reason = format!("it does not answer yet; it is waited for, at most {}", self.timeout);
        let mut change = Change::run(self.id(), reason).step(self.wait_step());
        change.attributes.push(AttributeChange {
            name: "answers".to_owned(),
            before: Shown::Value(json!(false)),
            after: Shown::Value(json!(true)),
        });
        change.reverse = Reverse::Nothing;
        change
    }

    fn refresh(&self) -> Option<Vec<Step>> {
        Some(vec![self.wait_step()])
    }
}

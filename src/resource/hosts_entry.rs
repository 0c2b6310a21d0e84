//! `hosts_entry`: the names of one address in `/etc/hosts`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Presence};
use super::text_edit::{WhenMissing, edit_backup, edit_script, observed_text, restore_edit};
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::addr::ResourceId;
use crate::change::{Action, AttributeChange, Change, Shown, Step, TextChange};
use crate::sh;

/// One address in `/etc/hosts` with exactly these names. The lines of other addresses stay, but for these names.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostsEntry {
    /// The address.
    address: IpAddr,
    /// Its names, the canonical one first. No other address of the same family keeps one of them.
    ///
    /// With `state: absent` these names are taken away from it, or all where none is given.
    #[serde(default)]
    names: Vec<String>,
    /// Whether the address is to have the names.
    #[serde(default)]
    state: Presence,
}

/// What `/etc/hosts` says of the address and its names.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedEntry {
    file_is_there: bool,
    /// The names on each line of the address.
    names: Vec<Vec<String>>,
    /// The other addresses that have one of the names, with those that they have.
    elsewhere: Vec<(String, Vec<String>)>,
    #[serde(skip)]
    text: String,
}

const PATH: &str = "/etc/hosts";

/// A line of the file, taken apart.
struct Line<'a> {
    whole: &'a str,
    address: &'a str,
    names: Vec<&'a str>,
    comment: &'a str,
}

/// Returns the lines of the file; one that gives no address a name has an empty address.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').map(|whole| {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (body, comment) = line.split_at(line.find('#').unwrap_or(line.len()));
        let mut words = body.split([' ', '\t']).filter(|word| !word.is_empty());
        let address = words.next().unwrap_or_default();
        let names: Vec<&str> = words.collect();
        Line { whole, address: if names.is_empty() { "" } else { address }, names, comment }
    })
}

impl HostsEntry {
    fn path() -> HostPath {
        HostPath::parse(PATH).expect("the path is plain")
    }

    fn is_own(&self, address: &str) -> bool {
        address.parse::<IpAddr>().is_ok_and(|address| address == self.address)
    }

    fn is_of_family(&self, address: &str) -> bool {
        address.contains(':') == self.address.is_ipv6()
    }

    fn wants(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    }

    fn own_line(&self) -> String {
        format!("{}\t{}", self.address, self.names.join(" "))
    }

    /// Returns the text after the change. The step's `awk` program does the same.
    fn edited(&self, text: &str) -> String {
        let mut edited = String::with_capacity(text.len() + 64);
        let mut is_done = self.state.is_absent();
        let mut push = |start: String, comment: &str| {
            edited.push_str(&start);
            if !comment.is_empty() {
                edited.push(' ');
                edited.push_str(comment);
            }
            edited.push('\n');
        };
        for line in lines(text) {
            let whole = line.whole.strip_suffix('\n').unwrap_or(line.whole).to_owned();
            let keep: Vec<&str> = line.names.iter().copied().filter(|name| !self.wants(name)).collect();
            let without = || format!("{}\t{}", line.address, keep.join(" "));
            if self.is_own(line.address) {
                if self.state.is_absent() {
                    let takes_all = self.names.is_empty() || keep.is_empty();
                    match () {
                        () if takes_all => {}
                        () if keep.len() == line.names.len() => push(whole, ""),
                        () => push(without(), line.comment),
                    }
                } else if !is_done {
                    is_done = true;
                    if line.names == self.names { push(whole, "") } else { push(self.own_line(), line.comment) }
                }
            } else if !self.state.is_absent()
                && !line.address.is_empty()
                && self.is_of_family(line.address)
                && keep.len() < line.names.len()
            {
                if !keep.is_empty() {
                    push(without(), line.comment);
                }
            } else {
                push(whole, "");
            }
        }
        if !is_done {
            push(self.own_line(), "");
        }
        edited
    }

    fn edit_step(&self, text: &str) -> Step {
        // The ways in which the file writes the address, so that `awk` need not understand addresses.
        let mut forms = vec![self.address.to_string()];
        for line in lines(text).filter(|line| self.is_own(line.address)) {
            let form = line.address.to_ascii_lowercase();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        let (verb, title) = match self.state {
            Presence::Present => ("present", format!("write the names of {} in {PATH}", self.address)),
            Presence::Absent => ("absent", format!("remove names of {} from {PATH}", self.address)),
        };
        let filter = sh!(
            r##"_own={}; _names={}; _line={}; _state={}; _six={}
export _own _names _line _state _six
awk '
  function rest() { return comment == "" ? "" : " " comment }
  BEGIN {
    absent = ENVIRON["_state"] == "absent"; done = absent
    wanted = split(ENVIRON["_names"], name, " ")
    for (i = 1; i <= wanted; i++) want[tolower(name[i])] = 1
  }
  {
    body = $0; sub(/\r$/, "", body); comment = ""
    if (i = index(body, "#")) { comment = substr(body, i); body = substr(body, 1, i - 1) }
    words = split(body, word, /[ \t]+/); first = 1
    if (words && word[1] == "") first = 2
    if (words && word[words] == "") words--
    if (words <= first) { print; next }
    address = tolower(word[first]); keep = ""; kept = 0
    for (i = first + 1; i <= words; i++)
      if (!(tolower(word[i]) in want)) { keep = keep " " word[i]; kept++ }
    without = word[first] "\t" substr(keep, 2) rest()
    if (index(ENVIRON["_own"], " " address " ")) {
      if (absent) {
        if (!wanted || !kept) next
        if (kept == words - first) print; else print without
        next
      }
      if (done) next
      done = 1
      same = words - first == wanted
      for (i = 1; same && i <= wanted; i++) if (word[first + i] "" != name[i] "") same = 0
      if (same) print; else print ENVIRON["_line"] rest()
      next
    }
    if (!absent && (index(address, ":") > 0) == (ENVIRON["_six"] == "1") && kept < words - first) {
      if (kept) print without
      next
    }
    print
  }
  END { if (!done) print ENVIRON["_line"] }
' <"$_old""##,
            format!(" {} ", forms.join(" ")),
            self.names.join(" "),
            self.own_line(),
            verb,
            u32::from(self.address.is_ipv6())
        );
        let missing = match self.state {
            Presence::Present => WhenMissing::Make { mode: "0644", owner: "root", group: "root" },
            Presence::Absent => WhenMissing::Fail,
        };
        Step::new(title, edit_script(&Self::path(), &edit_backup(self), &missing, filter))
    }
}

impl Kind for HostsEntry {
    const NAME: &'static str = "hosts_entry";
    const SUMMARY: &'static str = "The names of one address in /etc/hosts";
    const EXAMPLE: &'static str = r#"- hosts_entry:
    address: 10.20.0.11
    names: [ctl-par1-01.control.example, ctl-par1-01]
- hosts_entry:
    address: 127.0.1.1
    state: absent
"#;

    type Observed = ObservedEntry;

    fn name(&self) -> String {
        self.address.to_string()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.names.is_empty() && !self.state.is_absent() {
            problems.push(SpecProblem::new("names", "an entry has at least one name"));
        }
        for (at, name) in self.names.iter().enumerate() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if name.is_empty() || !name.chars().all(is_name) || name.starts_with(['-', '.']) {
                problems.push(SpecProblem::new("names", format!("{name:?} is no host name")));
            }
            if self.names.iter().take(at).any(|other| other.eq_ignore_ascii_case(name)) {
                problems.push(SpecProblem::new("names", format!("{name} stands twice")));
            }
        }
        let is_localhost = ["127.0.0.1", "::1"].contains(&self.address.to_string().as_str());
        if is_localhost && !self.state.is_absent() && !self.wants("localhost") {
            let problem = SpecProblem::new("names", format!("{} would lose the name localhost", self.address));
            problems.push(problem.help("an entry has exactly the names that are given: name `localhost` too"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = vec![Claim::Resource(Kind::id(self))];
        if !self.state.is_absent() {
            let family = if self.address.is_ipv6() { "IPv6" } else { "IPv4" };
            claims.extend(self.names.iter().map(|name| {
                let name = format!("the {family} address of {}", name.to_ascii_lowercase());
                Claim::Resource(ResourceId::new(Self::NAME, name))
            }));
        }
        claims
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Path(PATH.to_owned(), Want::Content)]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedEntry, ObserveError> {
        let text = observed_text(self, &Self::path(), answers)?;
        let file_is_there = text.is_some();
        let text = text.unwrap_or_default();
        let mut names = Vec::new();
        let mut elsewhere = Vec::new();
        for line in lines(&text).filter(|line| !line.address.is_empty()) {
            if self.is_own(line.address) {
                names.push(line.names.iter().map(|name| (*name).to_owned()).collect());
            } else if self.is_of_family(line.address) && !self.state.is_absent() {
                let taken: Vec<String> =
                    line.names.iter().filter(|name| self.wants(name)).map(|name| (*name).to_owned()).collect();
                if !taken.is_empty() {
                    elsewhere.push((line.address.to_owned(), taken));
                }
            }
        }
        Ok(ObservedEntry { file_is_there, names, elsewhere, text })
    }

    fn diff(&self, observed: &ObservedEntry) -> Change {
        let id = Kind::id(self);
        let found: Vec<&String> = observed.names.iter().flatten().collect();
        let left: Vec<&String> = match self.state {
            Presence::Present => self.names.iter().collect(),
            Presence::Absent if self.names.is_empty() => Vec::new(),
            Presence::Absent => found.iter().copied().filter(|name| !self.wants(name)).collect(),
        };
        let is_right = match self.state {
            Presence::Present => observed.names.len() == 1 && found == left && observed.elsewhere.is_empty(),
            Presence::Absent => found == left,
        };
        if is_right {
            return Change::no_op(
                id,
                match self.state {
                    Presence::Present => "the address has its names, and nothing else has them",
                    Presence::Absent if self.names.is_empty() => "the address has no names, as wanted",
                    Presence::Absent => "the address has none of the names, as wanted",
                },
            );
        }
        let shown = |names: &[&String]| if names.is_empty() { Shown::Absent } else { Shown::Value(json!(names)) };
        let mut attributes = Vec::new();
        if found != left {
            attributes.push(AttributeChange { name: "names".into(), before: shown(&found), after: shown(&left) });
        } else if observed.names.len() > 1 {
            let (before, after) = (Shown::Value(json!(observed.names.len())), Shown::Value(json!(1)));
            attributes.push(AttributeChange { name: "lines".into(), before, after });
        }
        for (address, names) in &observed.elsewhere {
            let before = Shown::Value(Value::from(names.as_slice()));
            attributes.push(AttributeChange { name: format!("names at {address}"), before, after: Shown::Absent });
        }
        let mut change = match (self.state, found.is_empty()) {
            (Presence::Absent, _) if left.is_empty() => Change::delete(id, &Default::default()),
            (Presence::Present, true) => Change::create(id, &Default::default()),
            _ => {
                let mut change = Change::create(id, &Default::default());
                change.action = Action::Update;
                change.because(match () {
                    () if found != left => "names differ",
                    () if observed.names.len() > 1 => "it stands on more than one line",
                    () => "another address has one of its names",
                })
            }
        };
        change.attributes = attributes;
        let after = self.edited(&observed.text);
        change.text = Some(TextChange { before: observed.text.as_str().into(), after: after.into() });
        change.step(self.edit_step(&observed.text)).reversed_by(vec![restore_edit(&Self::path(), &edit_backup(self))])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text_edit::tests::run_edit;
    use super::*;
    use crate::shell::Script;

    fn entry(json: Value) -> HostsEntry {
        serde_json::from_value(json).unwrap()
    }

    /// Runs the step on a text and returns what becomes of it, after comparing it with what the plan shows.
    fn edit(entry: &HostsEntry, text: &str) -> String {
        let script = entry.edit_step(text).script.text().replace("/etc", "/provision-test");
        let script = Script::from_author(&script.replace("_path=/provision-test/hosts", "_path=/provision-test/file"));
        let planned = entry.edited(text);
        assert_eq!(run_edit(&script, "", text).unwrap(), planned, "{text:?}");
        planned
    }

    #[test]
    fn the_step_does_what_the_plan_shows() {
        let ctl = entry(json!({"address": "10.0.0.5", "names": ["ctl.example", "ctl"]}));
        assert_eq!(edit(&ctl, ""), "10.0.0.5\tctl.example ctl\n");
        assert_eq!(edit(&ctl, "# x\n127.0.0.1 localhost"), "# x\n127.0.0.1 localhost\n10.0.0.5\tctl.example ctl\n");
        let text = " 10.0.0.5  old # rack 1\n127.0.1.1\tctl.example CTL other\n10.0.0.5 again\n::1 ctl\n10.0.0.50 x\n";
        let after = "10.0.0.5\tctl.example ctl # rack 1\n127.0.1.1\tother\n::1 ctl\n10.0.0.50 x\n";
        assert_eq!(edit(&ctl, text), after);
        assert_eq!(edit(&ctl, after), after);
        let six = entry(json!({"address": "fd00::5", "names": ["ctl"]}));
        assert_eq!(edit(&six, "FD00:0::5 x\n10.0.0.5 ctl\n"), "fd00::5\tctl\n10.0.0.5 ctl\n");

        let gone = entry(json!({"address": "127.0.1.1", "state": "absent"}));
        assert_eq!(edit(&gone, "127.0.1.1 a b\n127.0.0.1 a\n"), "127.0.0.1 a\n");
        let one = entry(json!({"address": "127.0.1.1", "names": ["a"], "state": "absent"}));
        assert_eq!(
            edit(&one, "127.0.1.1 a b # c\n127.0.0.1 a\n127.0.1.1 c\n"),
            "127.0.1.1\tb # c\n127.0.0.1 a\n127.0.1.1 c\n"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn awk_and_the_plan_agree_and_a_second_edit_changes_nothing(
            text in prop::collection::vec(
                "[ \t]{0,1}(10\\.0\\.0\\.5|::1|127\\.0\\.1\\.1|FD00::5|#|)([ \t]{1,2}(a|B|c1|0|0\\.0|1e0|1)){0,3}[ \t]{0,1}(#.{0,3}a|)\r{0,1}\n",
                0..5,
            ),
            address in prop::sample::select(vec!["10.0.0.5", "fd00::5", "127.0.1.1"]),
            names in prop::sample::select(vec![vec!["a"], vec!["b", "a"], vec!["0", "1"], vec!["1e0", "c1"]]),
            state in prop::sample::select(vec!["present", "absent"]),
        ) {
            let entry = entry(json!({"address": address, "names": names, "state": state}));
            let text = text.concat();
            prop_assume!(!text.contains('\0'));
            let once = edit(&entry, &text);
            prop_assert_eq!(entry.edited(&once), once);
        }
    }
}

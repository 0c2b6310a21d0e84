//! `block`: lines between two markers in a file that belongs to somebody else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::sha256;
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Mode, Presence};
use super::text_edit::{WhenMissing, edit_backup, edit_script, observed_text, restore_edit};
use super::{Kind, ObserveError, SpecProblem, way};
use crate::change::{Action, AttributeChange, Attributes, Change, Shown, Step, TextChange};
use crate::sh;
use crate::shell::Script;

/// Lines between two markers in a file. Everything else in the file stays as it is, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The file's path on the host: a regular file of at most 256 KiB of UTF-8 text.
    path: HostPath,
    /// The lines.
    #[serde(default)]
    content: Option<String>,
    /// The name in the marker lines, `# BEGIN name` and `# END name`. Two blocks of one file need different names.
    #[serde(default = "default_marker")]
    marker: String,
    /// What stands before `BEGIN` and `END`, so that the marker lines are comments in the file's own syntax.
    #[serde(default = "default_comment")]
    comment: String,
    /// Where the block goes when it is not there yet. A block that is there stays where it is.
    #[serde(default)]
    position: Position,
    /// Whether the file is made where it is not there.
    #[serde(default)]
    create: bool,
    /// The permission bits of a file that is made, `"0644"` if not given.
    #[serde(default)]
    mode: Option<Mode>,
    /// The owner of a file that is made, `root` if not given.
    #[serde(default)]
    owner: Option<String>,
    /// The group of a file that is made, `root` if not given.
    #[serde(default)]
    group: Option<String>,
    /// Whether the block is to be there.
    #[serde(default)]
    state: Presence,
}

/// A place in a file. Lines are matched by extended regular expressions, as `grep -E` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// Behind the last line.
    #[default]
    End,
    /// Before the first line.
    Beginning,
    /// Behind the last line that matches.
    After(String),
    /// Before the first line that matches.
    Before(String),
}

fn default_marker() -> String {
    "provision".to_owned()
}

fn default_comment() -> String {
    "#".to_owned()
}

/// A block as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedBlock {
    file_is_there: bool,
    /// The digest of the lines between the markers.
    content: Option<String>,
    /// The number of the line that the position names, where the block is not there.
    line: Option<usize>,
    #[serde(skip)]
    text: String,
}

/// Where a block stands: the numbers of its marker lines, from 0.
type Lines = std::ops::RangeInclusive<usize>;

impl Block {
    fn begin(&self) -> String {
        format!("{} BEGIN {}", self.comment, self.marker).trim_start().to_owned()
    }

    fn end(&self) -> String {
        format!("{} END {}", self.comment, self.marker).trim_start().to_owned()
    }

    /// Returns the lines that are to be between the markers, the last with its newline.
    fn wanted(&self) -> String {
        let mut text = self.content.clone().unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    fn block_text(&self) -> String {
        format!("{}\n{}{}\n", self.begin(), self.wanted(), self.end())
    }

    fn position_key(&self, pattern: &str) -> String {
        format!("block {} {pattern}", self.path)
    }

    fn pattern(&self) -> Option<&str> {
        match &self.position {
            Position::After(pattern) | Position::Before(pattern) if !self.state.is_absent() => Some(pattern),
            _ => None,
        }
    }

    /// Returns where the block stands in a text, or an error where its markers do not pair.
    fn find(&self, lines: &[&str]) -> Result<Option<Lines>, String> {
        let (begin, end) = (self.begin(), self.end());
        let at = |marker: &str| -> Vec<usize> {
            let found = lines.iter().enumerate().filter(|(_, line)| bare(line) == marker);
            found.map(|(number, _)| number).collect()
        };
        match (at(&begin).as_slice(), at(&end).as_slice()) {
            ([], []) => Ok(None),
            ([first], [last]) if first < last => Ok(Some(*first..=*last)),
            _ => Err(format!("the lines `{begin}` and `{end}` in {} do not pair; mend them by hand", self.path)),
        }
    }

    /// Returns the text after the change; `line` is the number of the line that the position names.
    fn edited(&self, text: &str, line: Option<usize>) -> Result<String, String> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (before, after) = match self.find(&lines)? {
            Some(found) => (*found.start(), found.end() + 1),
            None if self.state.is_absent() => return Ok(text.to_owned()),
            None => {
                let at = match &self.position {
                    Position::End => lines.len(),
                    Position::Beginning => 0,
                    Position::After(_) => line.unwrap_or(lines.len()),
                    Position::Before(_) => line.map_or(lines.len(), |line| line.saturating_sub(1)),
                };
                (at, at)
            }
        };
        let newline = if lines.first().is_some_and(|first| first.ends_with("\r\n")) { "\r\n" } else { "\n" };
        let mut edited: String = lines.iter().take(before).copied().collect();
        if !self.state.is_absent() {
            if !edited.is_empty() && !edited.ends_with('\n') {
                edited.push_str(newline);
            }
            edited.push_str(&self.block_text().replace('\n', newline));
        }
        edited.extend(lines.iter().skip(after).copied());
        Ok(edited)
    }

    fn edit_step(&self) -> Step {
        let path = &self.path;
        // Only `awk` reads the lines, to count them; `head` and `tail` copy the bytes.
        let mut filter = sh!(
            r#"_begin={}; _end={}; export _begin _end
_lines=$(awk '
  { line = $0; sub(/\r$/, "", line) }
  NR == 1 && line != $0 { crlf = 1 }
  line == ENVIRON["_begin"] { if (begin) bad = 1; begin = NR }
  line == ENVIRON["_end"] { if (!begin || end) bad = 1; end = NR }
  END { if (bad || (begin && !end)) exit 3; print begin + 0, end + 0, NR, crlf + 0 }
' <"$_old") || { echo "the lines '$_begin' and '$_end' in $_path do not pair; mend them by hand" >&2; exit 1; }
set -- $_lines
if [ "$1" -gt 0 ]; then _before=$(($1 - 1)); _after=$(($2 + 1))"#,
            self.begin(),
            self.end()
        );
        if self.state.is_absent() {
            filter.push(&Script::constant(
                r#"else _before=$3; _after=$(($3 + 1)); fi
if [ "$_before" -gt 0 ]; then head -n "$_before" <"$_old"; fi
tail -n "+$_after" <"$_old""#,
            ));
        } else {
            let found = |number: &'static str, pattern: &str| {
                sh!(
                    r#"  _match=$(grep -nE -- {} "$_old" | {} -n 1 | cut -d: -f1)
  [ -n "$_match" ] || { echo "no line of $_path matches "{} >&2; exit 1; }
  _before={}"#,
                    pattern,
                    Script::constant(if number == "$_match" { "tail" } else { "head" }),
                    format!("`{pattern}`"),
                    Script::constant(number)
                )
            };
            filter.push(&Script::constant("else"));
            filter.push(&match &self.position {
                Position::End => Script::constant("  _before=$3"),
                Position::Beginning => Script::constant("  _before=0"),
                Position::After(pattern) => found("$_match", pattern),
                Position::Before(pattern) => found("$((_match - 1))", pattern),
            });
            filter.push(&Script::constant(
                r#"  _after=$((_before + 1))
fi
if [ "$4" -eq 1 ]; then _newline='\r\n'; else _newline='\n'; fi
if [ "$_before" -gt 0 ]; then
  head -n "$_before" <"$_old"
  [ -z "$(head -n "$_before" <"$_old" | tail -c 1)" ] || printf "$_newline"
fi
if [ "$4" -eq 1 ]; then _payload | awk '{ printf "%s\r\n", $0 }'; else _payload; fi
tail -n "+$_after" <"$_old""#,
            ));
        }
        let missing = if self.create && !self.state.is_absent() {
            WhenMissing::Make {
                mode: self.mode.as_ref().map_or("0644", Mode::as_str),
                owner: self.owner.as_deref().unwrap_or("root"),
                group: self.group.as_deref().unwrap_or("root"),
            }
        } else {
            WhenMissing::Fail
        };
        let script = edit_script(path, &edit_backup(self), &missing, filter);
        if self.state.is_absent() {
            return Step::new(format!("remove the block `{}` from {path}", self.marker), script);
        }
        Step::new(format!("write the block `{}` in {path}", self.marker), script)
            .with_bytes(self.block_text().into_bytes())
    }
}

/// Returns a line without what ends it.
fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

impl Kind for Block {
    const NAME: &'static str = "block";
    const SUMMARY: &'static str = "Lines between two markers in a file that belongs to somebody else";
    const EXAMPLE: &'static str = r#"- block:
    path: /etc/security/limits.conf
    marker: etcd
    content: |
      etcd soft nofile 65536
      etcd hard nofile 65536
- block:
    path: /etc/ssh/sshd_config
    position: {before: "^Match "}
    content: PermitRootLogin no
"#;

    type Observed = ObservedBlock;

    fn name(&self) -> String {
        if self.marker == default_marker() { self.path.to_string() } else { format!("{} {}", self.path, self.marker) }
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        match (&self.content, self.state) {
            (None, Presence::Present) => {
                problems.push(SpecProblem::new("content", "nothing says which lines are to be there"));
            }
            (Some(_), Presence::Absent) => {
                problems.push(SpecProblem::new("content", "a block that is to be absent has no content"));
            }
            _ => {}
        }
        if self.marker.trim().is_empty() || self.marker.trim_end() != self.marker {
            problems.push(SpecProblem::new("marker", "the name of a marker is empty or ends in a space"));
        }
        for (field, text) in [("marker", &self.marker), ("comment", &self.comment)] {
            if text.contains(['\n', '\r']) {
                problems.push(SpecProblem::new(field, "a marker is one line"));
            }
        }
        let content = self.content.as_deref().unwrap_or_default();
        if content.lines().any(|line| bare(line) == self.begin() || bare(line) == self.end()) {
            problems.push(SpecProblem::new("content", "the content has a marker line in it"));
        }
        if let Position::After(pattern) | Position::Before(pattern) = &self.position
            && (pattern.is_empty() || pattern.contains('\n'))
        {
            problems.push(SpecProblem::new("position", "a regular expression is one line that is not empty"));
        }
        let attributes =
            [("mode", self.mode.is_some()), ("owner", self.owner.is_some()), ("group", self.group.is_some())];
        for (field, _) in attributes.iter().filter(|(_, is_given)| *is_given && !self.create) {
            let problem = SpecProblem::new(field, "it is used only for a file that is made");
            problems.push(problem.help("set `create: true`, or manage the file's attributes with a `file` task"));
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![Query::Path(self.path.as_str().to_owned(), Want::Content)];
        if let Some(pattern) = self.pattern() {
            let script = sh!(
                r#"[ -f {} ] || exit 1
_nl='
'
_all=$(grep -nE -- {} {}) || exit $?
_one=${_all%%"$_nl"*}; _last=${_all##*"$_nl"}
printf '%s %s\n' "${_one%%:*}" "${_last%%:*}""#,
                self.path,
                pattern,
                self.path
            );
            queries.push(Query::Snippet { key: self.position_key(pattern), tools: Vec::new(), script });
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedBlock, ObserveError> {
        let Some(text) = observed_text(self, &self.path, answers)? else {
            return Ok(ObservedBlock { file_is_there: false, content: None, line: None, text: String::new() });
        };
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let found = self.find(&lines).map_err(|what| ObserveError::unexpected(self, what))?;
        if let Some(found) = found {
            let inner = lines.iter().take(*found.end()).skip(found.start() + 1);
            let content: String = inner.map(|line| format!("{}\n", bare(line))).collect();
            let content = Some(sha256(content.as_bytes()));
            return Ok(ObservedBlock { file_is_there: true, content, line: None, text });
        }
        let mut line = None;
        if let Some(pattern) = self.pattern()
            && let Some(answer) = answers.snippet(&self.position_key(pattern))
        {
            if answer.status > 1 {
                return Err(ObserveError::unexpected(self, format!("`grep -E` says: {}", answer.text())));
            }
            let text = answer.text();
            let (first, last) = text.split_once(' ').unwrap_or_default();
            line = if matches!(self.position, Position::Before(_)) { first } else { last }.parse().ok();
        }
        Ok(ObservedBlock { file_is_there: true, content: None, line, text })
    }

    fn diff(&self, observed: &ObservedBlock) -> Change {
        let id = Kind::id(self);
        let wanted = sha256(self.wanted().replace("\r\n", "\n").as_bytes());
        let shown = |digest: &str| json!(format!("sha256:{digest}"));
        let mut change = match (self.state, &observed.content) {
            (Presence::Absent, None) => return Change::no_op(id, "it is not there, as wanted"),
            (Presence::Absent, Some(found)) => {
                Change::delete(id, &Attributes::from([("content".to_owned(), shown(found))]))
            }
            (Presence::Present, Some(found)) if *found == wanted => {
                return Change::no_op(id, "its lines are as wanted");
            }
            (Presence::Present, Some(found)) => {
                let found = Attributes::from([("content".to_owned(), shown(found))]);
                Change::between(id, &found, &Attributes::from([("content".to_owned(), shown(&wanted))]))
                    .because("its lines differ")
            }
            (Presence::Present, None) => {
                let mut change = Change::create(id, &Attributes::from([("content".to_owned(), shown(&wanted))]));
                if observed.file_is_there {
                    change.action = Action::Update;
                    change = change.because("the block is not in the file");
                    if let (Some(pattern), None) = (self.pattern(), observed.line) {
                        let missing = format!("no line matches `{pattern}` yet, and one must when this runs");
                        change = change.because(format!("the block is not in the file; {missing}"));
                    }
                } else if self.create {
                    change = change.because("the file is not there");
                    let attributes = [
                        ("mode", self.mode.as_ref().map_or("0644", Mode::as_str)),
                        ("owner", self.owner.as_deref().unwrap_or("root")),
                        ("group", self.group.as_deref().unwrap_or("root")),
                    ];
                    change.attributes.extend(attributes.map(|(name, value)| AttributeChange {
                        name: name.to_owned(),
                        before: Shown::Absent,
                        after: Shown::Value(json!(value)),
                    }));
                } else {
                    change = change.because("the file is not there yet, and must be when this runs");
                }
                change
            }
        };
        // Where no line matches yet, nobody knows what the text will be.
        let is_placed = observed.content.is_some() || self.pattern().is_none() || observed.line.is_some();
        if let Ok(after) = self.edited(&observed.text, observed.line)
            && is_placed
        {
            change.text = Some(TextChange { before: observed.text.as_str().into(), after: after.into() });
        }
        let change = change.step(self.edit_step()).reversed_by(vec![restore_edit(&self.path, &edit_backup(self))]);
        way::guarded(change, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text_edit::tests::run_edit;
    use super::*;

    fn block(json: serde_json::Value) -> Block {
        let mut spec = json!({"path": "/provision-test/file", "content": "x\ny"});
        spec.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    /// Runs the step and returns the file's text, after comparing it with the text that the plan shows.
    fn edit(block: &Block, before: &str, line: Option<usize>) -> String {
        let planned = block.edited(before, line).unwrap();
        let payload = if block.state.is_absent() { String::new() } else { block.block_text() };
        assert_eq!(run_edit(&block.edit_step().script, &payload, before).unwrap(), planned, "{before:?}");
        planned
    }

    #[test]
    fn the_step_does_what_the_plan_shows() {
        let end = block(json!({}));
        assert_eq!(edit(&end, "a\n", None), "a\n# BEGIN provision\nx\ny\n# END provision\n");
        assert_eq!(edit(&end, "a", None), "a\n# BEGIN provision\nx\ny\n# END provision\n");
        assert_eq!(edit(&end, "", None), "# BEGIN provision\nx\ny\n# END provision\n");
        assert_eq!(edit(&end, "a\r\nb", None), "a\r\nb\r\n# BEGIN provision\r\nx\r\ny\r\n# END provision\r\n");
        let there = "a\n# BEGIN provision\nold\n# END provision\nz";
        assert_eq!(edit(&end, there, None), "a\n# BEGIN provision\nx\ny\n# END provision\nz");

        let beginning = block(json!({"position": "beginning"}));
        assert_eq!(edit(&beginning, "a\n", None), "# BEGIN provision\nx\ny\n# END provision\na\n");
        let after = block(json!({"position": {"after": "^b"}, "comment": ";", "marker": "it's $(x) \\n"}));
        let begin = "; BEGIN it's $(x) \\n";
        assert!(edit(&after, "b\nb1\nc", Some(2)).starts_with(&format!("b\nb1\n{begin}\n")));
        let before = block(json!({"position": {"before": "^b"}}));
        assert!(edit(&before, "a\nb\nb1\n", Some(2)).starts_with("a\n# BEGIN provision\n"));
    }

    #[test]
    fn nothing_is_done_where_no_line_matches() {
        let after = block(json!({"position": {"after": "it's `x`"}}));
        let error = run_edit(&after.edit_step().script, "", "a\n").unwrap_err();
        assert!(error.ends_with("/file matches `it's `x``\n"), "{error}");
    }

    #[test]
    fn markers_that_do_not_pair_are_left_alone() {
        let block = block(json!({}));
        for text in ["# BEGIN provision\n", "# END provision\n# BEGIN provision\n", "# END provision\n"] {
            assert!(block.edited(text, None).is_err(), "{text:?}");
            let error = run_edit(&block.edit_step().script, "", text).unwrap_err();
            assert!(error.contains("do not pair"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_not_the_block_stays_byte_for_byte(
            lines in prop::collection::vec("[ -~\t\u{e9}]{0,6}(\n|\r\n)", 0..5),
            tail in "[ -~]{0,3}",
            position in 0..3,
        ) {
            let text = lines.concat() + &tail;
            let block = block(match position {
                0 => json!({"position": "beginning"}),
                1 => json!({"position": "end"}),
                _ => json!({"state": "absent", "content": null}),
            });
            let edited = edit(&block, &text, None);
            let mut absent = block.clone();
            absent.state = Presence::Absent;
            let back = edit(&absent, &edited, None);
            // Only the newline that a last line lacked is added.
            prop_assert!(back == text || back.strip_suffix("\r\n").or(back.strip_suffix('\n')) == Some(text.as_str()));
        }
    }
}

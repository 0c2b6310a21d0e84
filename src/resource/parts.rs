//! A resource that is made of several parts: files, and the state of what reads them.
//!
//! Each part finds its own change; here they become the one change that a plan shows, with the steps in the order
//! of the parts and the reverse in the opposite one.

use crate::addr::ResourceId;
use crate::change::{Action, Change, Reverse, Step};
use crate::sh;

/// Joins the changes of a resource's parts; the first part says whether the resource itself is made or removed.
///
/// An attribute is named by its part, as in `file.mode`; a part without a name keeps its attributes' own names.
pub(super) fn join(id: ResourceId, parts: Vec<(&str, Change)>) -> Change {
    let mut whole = Change::no_op(id, "");
    let mut reasons = Vec::new();
    let mut reverse = Vec::new();
    let mut impossible = Vec::new();
    let mut actions = Vec::new();
    for (name, part) in &parts {
        let titled = |text: &str| if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") };
        actions.push(part.action);
        if !part.is_no_op() {
            reasons.push(titled(&part.reason));
        }
        for attribute in &part.attributes {
            let mut attribute = attribute.clone();
            if !name.is_empty() {
                attribute.name = format!("{name}.{}", attribute.name);
            }
            whole.attributes.push(attribute);
        }
        whole.text = whole.text.take().or_else(|| part.text.clone());
        whole.steps.extend(part.steps.iter().cloned());
        match &part.reverse {
            Reverse::Nothing => {}
            Reverse::Steps(steps) => reverse.splice(0..0, steps.iter().cloned()).for_each(drop),
            Reverse::Impossible(why) => impossible.push(why.clone()),
        }
    }
    let changed: Vec<Action> = actions.iter().copied().filter(|action| *action != Action::NoOp).collect();
    whole.action = match (actions.first(), changed.as_slice()) {
        (_, []) => {
            let reasons: Vec<String> = parts.iter().map(|(_, part)| part.reason.clone()).collect();
            return whole.because(reasons.join("; "));
        }
        (Some(Action::Create), _) => Action::Create,
        (Some(Action::Delete), all) if all.iter().all(|action| *action == Action::Delete) => Action::Delete,
        _ => Action::Update,
    };
    whole.reason = if whole.action == Action::Create {
        "it is not there".to_owned()
    } else if whole.action == Action::Delete {
        "it must not be there".to_owned()
    } else {
        reasons.join("; ")
    };
    whole.reverse =
        if impossible.is_empty() { Reverse::Steps(reverse) } else { Reverse::Impossible(impossible.join("; ")) };
    whole
}

/// Has the first step of a change make the folder, which a minimal system may lack.
pub(super) fn in_folder(mut change: Change, folder: &str) -> Change {
    if change.action == Action::Create
        && let Some(Step { script, .. }) = change.steps.first_mut()
    {
        *script = sh!("[ -d {} ] || mkdir -p -m 0755 -- {}", folder, folder).then(std::mem::take(script));
    }
    change
}

/// Returns what is wrong with a value that stands on one line of a configuration file.
pub(super) fn one_line(text: &str) -> Option<String> {
    text.chars().any(char::is_control).then(|| format!("{text:?} has a control character in it; it must be one line"))
}

/// Returns the words as a person writes a list: `a`, `a and b`, `a, b and c`.
pub(super) fn listed<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

//! `rules`: what inventories and playbooks are checked against.

use clap::Args;

use super::exit::Exit;
use super::policy::LangChoice;
use super::printer::Printer;
use crate::diag::suggestion;
use crate::policy::{Rule, rules};
use crate::report::findings::{explain, list, list_json};

/// Arguments of `rules`.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// A rule to explain, such as `PA022-R7`; all are listed without one
    rule: Option<String>,
    /// The language of the texts
    #[arg(long, value_enum, default_value_t, value_name = "LANG")]
    lang: LangChoice,
}

pub(super) fn run(args: &RulesArgs, printer: &Printer) -> Exit {
    let (lang, color, width) = (args.lang.into(), printer.stdout_style(), printer.width());
    let Some(id) = &args.rule else {
        if printer.json {
            printer.json(&list_json(rules()));
        } else {
            printer.data(&list(lang, color, width));
        }
        return Exit::Done;
    };
    // One that is checked on what is written and on hosts too has a row for each.
    let named: Vec<&Rule> = rules().filter(|rule| rule.id == *id).collect();
    if named.is_empty() {
        let hint = suggestion(id, rules().map(|rule| rule.id));
        let hint = hint.unwrap_or_else(|| "`provision rules` lists them".to_owned());
        printer.error(&format!("there is no rule `{id}`"), Some(&hint));
        return Exit::Usage;
    }
    if printer.json {
        printer.json(&list_json(named));
    } else {
        let texts: Vec<String> = named.into_iter().map(|rule| explain(rule, lang, color, width)).collect();
        printer.data(&texts.join("\n"));
    }
    Exit::Done
}

//! What can be said of a template before everything that it speaks of is known.
//!
//! A template that speaks of facts is rendered only once a host was read; a variable that no host will ever have is
//! found here before. Within `each` and `with` names mean something else, so only what stands in the template's own
//! scope is looked at: nothing that is right is ever refused.

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{Path, PathSeg, Template};
use serde_json::Value;

use super::{TemplateError, lookup_path};

/// Blocks that leave the scope as it is.
const SAME_SCOPE: [&str; 2] = ["if", "unless"];

/// Returns the first variable of a template that `context` lacks. What begins with one of `later` is still to come.
pub(super) fn missing(template: &Template, context: &Value, later: &[&str]) -> Option<TemplateError> {
    for (at, element) in template.elements.iter().enumerate() {
        let found = match element {
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                in_helper(helper, context, later)
            }
            TemplateElement::HelperBlock(helper) => {
                in_parameters(helper, context, later).map(Missing::Here).or_else(|| in_blocks(helper, context, later))
            }
            _ => None,
        };
        match found {
            None => {}
            Some(Missing::Inside(error)) => return Some(error),
            Some(Missing::Here(path)) => {
                let (line, column) = template.mapping.get(at).map_or((1, 1), |mapping| (mapping.0, mapping.1));
                let message = format!("there is no variable `{path}`");
                return Some(TemplateError { message, line, column, missing: Some(path) });
            }
        }
    }
    None
}

/// A variable that is missing: in the element that is looked at, or in a template within it.
enum Missing {
    Here(String),
    Inside(TemplateError),
}

fn in_helper(helper: &HelperTemplate, context: &Value, later: &[&str]) -> Option<Missing> {
    // With parameters the name is a helper's; whether there is such a helper shows when it is rendered.
    let is_variable = helper.params.is_empty() && helper.hash.is_empty();
    let own = is_variable.then(|| in_parameter(&helper.name, context, later)).flatten();
    own.or_else(|| in_parameters(helper, context, later)).map(Missing::Here)
}

fn in_blocks(helper: &HelperTemplate, context: &Value, later: &[&str]) -> Option<Missing> {
    let keeps_scope = matches!(&helper.name, Parameter::Name(name) if SAME_SCOPE.contains(&name.as_str()));
    let inner = helper.template.as_ref().filter(|_| keeps_scope);
    inner.into_iter().chain(&helper.inverse).find_map(|block| missing(block, context, later)).map(Missing::Inside)
}

fn in_parameters(helper: &HelperTemplate, context: &Value, later: &[&str]) -> Option<String> {
    helper.params.iter().chain(helper.hash.values()).find_map(|parameter| in_parameter(parameter, context, later))
}

fn in_parameter(parameter: &Parameter, context: &Value, later: &[&str]) -> Option<String> {
    match parameter {
        Parameter::Path(Path::Relative((segments, _))) => {
            let names = segments.iter().map(|segment| match segment {
                PathSeg::Named(name) => Some(name.as_str()),
                _ => None,
            });
            let path = names.collect::<Option<Vec<&str>>>()?;
            let first = path.first()?;
            let path = path.join(".");
            (!later.contains(first) && lookup_path(context, &path).is_none()).then_some(path)
        }
        Parameter::Subexpression(Subexpression { element, .. }) => match element.as_ref() {
            TemplateElement::Expression(helper) => in_parameters(helper, context, later),
            _ => None,
        },
        _ => None,
    }
}
